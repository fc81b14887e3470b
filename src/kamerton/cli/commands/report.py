"""`kamerton report`: write a run's report anew, or one page that compares several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import call

EPILOG = "Examples:  kamerton report runs/reviews --language ru   |   kamerton report runs/lora runs/full"


def language_word(word: str) -> str:
    """Let pass the languages that reports are written in."""
    if word not in ("en", "ru"):
        raise typer.BadParameter(f"'{word}' is neither en nor ru")
    return word


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="A run; several are compared on one page.")],
    language: Annotated[str, typer.Option(metavar="en|ru", help="Of the page.", callback=language_word)] = "en",
    out: Annotated[Path | None, typer.Option(help="Where the comparison goes; comparison.html if not given.")] = None,
) -> None:
    """Write a run's report anew and say where it is; several runs are compared on one page."""
    if out and len(runs) == 1:
        raise typer.BadParameter("a single run's report stands in its own folder", param_hint="--out")
    call("report", runs, language, out)
