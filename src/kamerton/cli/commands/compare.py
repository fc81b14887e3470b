"""`kamerton compare`: runs in pairs, on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import AsJson, Language, Require, call

EPILOG = (
    "Examples:  kamerton compare runs/lora runs/full   |   kamerton compare runs/new runs/old --require not-worse"
    "   |   kamerton compare runs/a runs/b --detect 0.02"
)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Runs on the same test rows.")],
    metric: Annotated[str | None, typer.Option(help="What to compare by; the first run's if not given.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Compare only the first run with each other.")] = False,
    detect: Annotated[
        float | None, typer.Option(help="Say how many rows a difference of this size would need.")
    ] = None,
    require: Require = None,
    language: Language = "en",
    json: AsJson = False,
) -> None:
    """Compare runs on the same test rows, in pairs; a demand is on the first run against each other."""
    if detect == 0:
        raise typer.BadParameter("no number of rows shows a difference of 0", param_hint="--detect")
    met = call(
        "compare", runs, metric, "first" if first or require else "all", detect, require, json, language=language
    )
    raise typer.Exit(OK if met else UNMET)
