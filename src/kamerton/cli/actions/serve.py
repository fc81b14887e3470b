"""What `kamerton serve` does."""

from __future__ import annotations

from pathlib import Path

from kamerton.core import registry
from kamerton.i18n.language import Language

EXTRA = "serve"
LIBRARIES = ("starlette", "uvicorn", "prometheus_client")


def run(
    runs: list[str],
    host: str,
    port: int,
    key_env: str | None,
    ab: str | None,
    share: float,
    outcomes: Path,
    promote: bool,
    queue: int,
    timeout: float,
    body: int,
    log_prompts: bool,
    base: bool,
    device: str | None,
    language: Language,
) -> bool:
    """Serve runs until a signal comes; return whether it ended by one."""
    for library in LIBRARIES:
        registry.require(library, EXTRA)
    limits = registry.load("kamerton.serve.context:RequestLimits")(body, queue, timeout)
    options = registry.load("kamerton.serve.server:ServeOptions")(
        tuple(runs), host, port, key_env, device, limits, ab, share, outcomes, promote, log_prompts, language, base
    )
    return bool(registry.load("kamerton.serve.server:serve")(options))
