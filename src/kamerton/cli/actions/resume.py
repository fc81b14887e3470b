"""What `kamerton resume` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.cli.telling import tell
from kamerton.i18n.language import Language
from kamerton.runs.run import Run
from kamerton.tune import story


def run(path: Path, json: bool, language: Language) -> None:
    """Go on with a run."""
    begun = Run(path)
    tell(begun, story(begun), json, language)
