"""What `kamerton studio` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.core import registry
from kamerton.i18n.language import Language

EXTRA = "studio"
LIBRARIES = ("starlette", "uvicorn", "prometheus_client")


def run(folder: Path, port: int, browser: bool, language: Language) -> None:
    """Show the studio until a signal comes."""
    for library in LIBRARIES:
        registry.require(library, EXTRA)
    options = registry.load("kamerton.studio.server:StudioOptions")(folder, port, browser, language)
    registry.load("kamerton.studio.server:serve")(options)
