"""`kamerton resume`: go on after a stop."""

from __future__ import annotations

from kamerton.cli.options import AsJson, Language, RunPath, call

EPILOG = "Example:  kamerton resume runs/reviews"


def resume(run: RunPath, language: Language = "en", json: AsJson = False) -> None:
    """Go on with a run after any stop: Ctrl-C, kill -9, power loss."""
    call("resume", run, json, language=language)
