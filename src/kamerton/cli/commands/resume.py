"""`kamerton resume`: continue after a stop."""

from __future__ import annotations

from kamerton.cli.options import AsJson, Language, RunPath, call

EXAMPLES = ("kamerton resume runs/reviews",)


def resume(run: RunPath, language: Language = None, json: AsJson = False) -> None:
    """Continue a run after any stop: Ctrl-C, kill -9, power loss."""
    call("resume", run, json, language=language)
