"""`kamerton compare`: runs in pairs, on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import AsJson, Language, Require, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg

EXAMPLES = (
    "kamerton compare runs/lora runs/full",
    "kamerton compare runs/new runs/old --require not-worse",
    "kamerton compare runs/a runs/b --detect 0.02",
)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Runs on the same test rows.", readable=False)],
    metric: Annotated[str | None, typer.Option(help="The metric; that of the first run if not given.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Compare only the first run with each other.")] = False,
    detect: Annotated[
        float | None, typer.Option(help="Compute how many rows a difference of this size would need.")
    ] = None,
    require: Require = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Compare runs on the same test rows, in pairs; --require is about the first run against each other."""
    if detect == 0:
        raise bad_value(msg("no number of rows shows a difference of 0"), "--detect")
    pairs = "first" if first or require else "all"
    met = call("compare", runs, metric, pairs, detect, require, json, language=language)
    raise typer.Exit(OK if met else UNMET)
