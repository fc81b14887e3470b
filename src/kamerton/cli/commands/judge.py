"""`kamerton judge`: people choose between two answers without knowing whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg

EXAMPLES = (
    "kamerton judge runs/new runs/old --out judge.html",
    "kamerton judge runs/new",
    "kamerton judge --evaluate choices.json",
)


def judge(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN [RUN]", help="Two runs; of one, its tuned model and the best other contender."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("judge.html"),
    rows: Annotated[int, typer.Option(min=1, help="Most pairs to judge.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of rows, order and sides.")] = 0,
    language: Language = None,
    reference: Annotated[bool, typer.Option("--reference", help="Show the right answer to the judges.")] = False,
    evaluate: Annotated[
        list[Path] | None, typer.Option(metavar="CHOICES", help="Evaluate saved choices; once for each file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a page on which people judge two answers blindly, or evaluate their choices."""
    if bool(runs) == bool(evaluate) or len(runs or []) > 2:
        raise bad_value(msg("give one run or two, or --evaluate with saved choices"), "RUN")
    call("judge", runs or [], out, rows, seed, reference, evaluate or [], json, language=language)
