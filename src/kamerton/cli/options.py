"""What the commands share: their flags, and how their work is called."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kamerton.cli.border import Border
from kamerton.cli.interrupts import leave_at_once, stop_properly
from kamerton.core import registry

NEXT_ROLE = re.compile(r",(?=\s*\w+\s*=)")
"""What stands between two columns: a comma before the next role."""


def demand(word: str | None) -> str | None:
    """Let pass what can be demanded of a verdict."""
    if word not in (None, "ship", "not-worse"):
        raise typer.BadParameter(f"'{word}' is neither ship nor not-worse")
    return word


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A data file (CSV, JSON, Parquet, a workbook, text, CoNLL …), an archive, a folder, or a pattern.",
        show_default=False,
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="The kind of job, if the columns do not tell.")]
Columns = Annotated[str | None, typer.Option(metavar="ROLE=NAME,…", help="Which column plays which role.")]
Model = Annotated[str | None, typer.Option(help="A known name, a folder, or a Hugging Face id.")]
Method = Annotated[str | None, typer.Option(help=f"One of: {', '.join(registry.names('methods'))}.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training rows.")]
LearningRate = Annotated[
    str | None, typer.Option(metavar="RATE|auto", help="Peak of the schedule; auto tries four on some of the rows.")
]
MaxRows = Annotated[int | None, typer.Option(help="Use at most this many rows, drawn at random.")]
TooLong = Annotated[
    str | None, typer.Option(metavar="cut|drop|window|refuse", help="What happens to rows longer than the model takes.")
]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="Any other setting.")]
Benchmarks = Annotated[
    str | None,
    typer.Option(
        metavar="TASK,…",
        help="Tasks of lm-eval, or task files x.yaml, asked before and after; pip install 'kamerton[benchmarks]'.",
    ),
]
Require = Annotated[
    str | None,
    typer.Option(
        metavar="ship|not-worse",
        help="Exit with 3 unless it is proven better, or not worse by more than evaluate.margin.",
        callback=demand,
    ),
]


def language_word(word: str) -> str:
    """Let pass the languages that are spoken."""
    if word not in ("en", "ru"):
        raise typer.BadParameter(f"'{word}' is neither en nor ru")
    return word


Language = Annotated[
    str,
    typer.Option(
        metavar="en|ru",
        envvar="KAMERTON_LANGUAGE",
        help="Of what is printed and of the pages; files for machines stay English.",
        callback=language_word,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def call(name: str, *arguments: object, language: str | None = None, needs: Callable[[], None] | None = None) -> Any:
    """Run what a command does, with all that goes wrong turned into a message and a status.

    A language, where the command speaks several, is given to it last. What it `needs` is looked for before anything
    is imported: a name that was mistyped is told at once.
    """
    speaking = () if language is None else (language,)
    with Border(language) as border:
        if needs is not None:
            needs()
        leave_at_once(border.worded("kamerton: stopped; nothing was started"))
        work = _imported(f"kamerton.cli.work.{name}:run")
        stop_properly()
        return work(*arguments, *speaking)


def _imported(work: str) -> Any:
    """Import a command's work. Nothing of what is imported is garbage: to look for it takes a tenth of the start."""
    gc.disable()
    try:
        return registry.load(work)
    finally:
        gc.freeze()
        gc.enable()


def given(flags: Mapping[str, object]) -> dict[str, object]:
    """Keep the flags that were given."""
    return {path: value for path, value in flags.items() if value is not None}


def parse_rate(text: str | None) -> float | str | None:
    """Read a learning rate; what is no number is left for the recipe to judge."""
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Read `text=review,label=stars`; a comma after which no role follows belongs to a column's name."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in NEXT_ROLE.split(text)]
    if not all(equals and role.strip() and name.strip() for role, equals, name in pairs):
        raise typer.BadParameter(
            "takes ROLE=NAME,ROLE=NAME: for example text=review,label=stars", param_hint="--columns"
        )
    return {role.strip(): name.strip() for role, _, name in pairs}
