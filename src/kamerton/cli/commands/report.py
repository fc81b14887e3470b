"""`kamerton report`: write a run's report anew."""

from __future__ import annotations

from typing import Annotated

import typer

from kamerton.cli.options import RunPath, call

EPILOG = "Examples:  kamerton report runs/reviews   |   kamerton report runs/reviews --language ru"


def language_word(word: str) -> str:
    """Let pass the languages that reports are written in."""
    if word not in ("en", "ru"):
        raise typer.BadParameter(f"'{word}' is neither en nor ru")
    return word


def report(
    run: RunPath,
    language: Annotated[str, typer.Option(metavar="en|ru", help="Of the page.", callback=language_word)] = "en",
) -> None:
    """Write a run's report anew and say where it is."""
    call("report", run, language)
