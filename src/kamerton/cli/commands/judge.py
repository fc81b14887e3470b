"""`kamerton judge`: people choose between two answers without knowing whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, call

EPILOG = (
    "Examples:  kamerton judge runs/new runs/old --out judge.html   |   kamerton judge runs/new"
    "   |   kamerton judge --evaluate choices.json"
)


def judge(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN [RUN]", help="Two runs; of one, its tuned model and the best other contender."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("judge.html"),
    rows: Annotated[int, typer.Option(min=1, help="How many pairs to judge at most.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of rows, order and sides.")] = 0,
    language: Language = "en",
    reference: Annotated[bool, typer.Option("--reference", help="Show the right answer to the judges.")] = False,
    evaluate: Annotated[
        list[Path] | None, typer.Option(metavar="CHOICES", help="Evaluate what judges saved; once for each file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a page on which people judge two answers blindly, or evaluate what they chose."""
    if bool(runs) == bool(evaluate) or len(runs or []) > 2:
        raise typer.BadParameter("name one run or two, or --evaluate what judges saved")
    call("judge", runs or [], out, rows, seed, reference, evaluate or [], json, language=language)
