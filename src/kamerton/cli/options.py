"""Flags that commands share, and the call of a command's work."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kamerton.cli.border import Border
from kamerton.cli.interrupts import leave_at_once, stop_properly
from kamerton.cli.speech import LANGUAGE, speak, worded
from kamerton.cli.start import NOTHING_STARTED
from kamerton.cli.usage import bad_value
from kamerton.core import registry
from kamerton.core.messages import msg
from kamerton.i18n.language import LANGUAGES, VARIABLE, language_of
from kamerton.i18n.language import Language as AnyLanguage

NEXT_ROLE = re.compile(r",(?=\s*\w+\s*=)")
"""What stands between two columns: a comma before the next role."""


def demand(word: str | None) -> str | None:
    """Check what is demanded of a verdict."""
    if word not in (None, "ship", "not-worse"):
        raise bad_value(msg("'{word}' is neither ship nor not-worse", word=word))
    return word


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A data file (CSV, JSON, Parquet, a workbook, text, CoNLL …), an archive, a folder, or a pattern.",
        show_default=False,
        readable=False,  # whoever reads it reports what stands in the way, as of any file
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False, readable=False)]
Task = Annotated[str | None, typer.Option(help="The task; found from the columns if not given.")]
Columns = Annotated[
    str | None, typer.Option(metavar="ROLE=NAME,…", help="Which column holds which part of an example.")
]
Model = Annotated[str | None, typer.Option(help="A known name, a folder, or a Hugging Face id.")]
Method = Annotated[str | None, typer.Option(help="One of: {methods}.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training rows.")]
LearningRate = Annotated[
    str | None, typer.Option(metavar="RATE|auto", help="Peak learning rate; auto tries four on a part of the rows.")
]
MaxRows = Annotated[int | None, typer.Option(help="Use at most this many rows, drawn at random.")]
TooLong = Annotated[
    str | None,
    typer.Option(metavar="cut|drop|window|refuse", help="What to do with rows that are longer than the model takes."),
]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="Any other setting.")]
Benchmarks = Annotated[
    str | None,
    typer.Option(
        metavar="TASK,…",
        help="Tasks of lm-eval, or task files x.yaml, evaluated before and after; needs kamerton[benchmarks].",
    ),
]
Require = Annotated[
    str | None,
    typer.Option(
        metavar="ship|not-worse",
        help="Exit with status 3 unless it is proven better, or not worse by more than evaluate.margin.",
        callback=demand,
    ),
]


def language_word(word: str | None) -> AnyLanguage:
    """Return the language of the reader: as given, else that of the environment."""
    for language in LANGUAGES:
        if word == language:
            return language
    if word is not None:
        raise bad_value(msg("'{word}' is neither en nor ru", word=word))
    return language_of(os.environ)


Language = Annotated[
    str | None,
    typer.Option(
        metavar="en|ru",
        envvar=VARIABLE,
        help="Of what is printed and of the pages; that of the locale if not given. Files for machines stay English.",
        callback=language_word,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def call(name: str, *arguments: object, language: str | None, needs: Callable[[], None] | None = None) -> Any:
    """Run the work of a command, with everything that goes wrong turned into a message and a status.

    Args:
        name: of the command.
        arguments: of the work; the language is its last one.
        language: of the reader.
        needs: checks the names that were given, before anything heavy is imported.
    """
    speak(language_word(language))
    with Border():
        if needs is not None:
            needs()
        leave_at_once(worded(NOTHING_STARTED))
        work = _imported(f"kamerton.cli.actions.{name}:run")
        stop_properly()
        return work(*arguments, LANGUAGE.get())


def _imported(work: str) -> Any:
    """Import a command's work without collecting garbage, which would take a tenth of the start."""
    gc.disable()
    try:
        return registry.load(work)
    finally:
        gc.freeze()
        gc.enable()


def given(flags: Mapping[str, object]) -> dict[str, object]:
    """Keep the flags that were given."""
    return {path: value for path, value in flags.items() if value is not None}


def data_flags(
    task: str | None, columns: str | None, model: str | None, max_rows: int | None = None
) -> dict[str, object]:
    """Return the settings of the flags that most commands have, as far as they were given."""
    columns_by_role = parse_columns(columns)
    return given({"data.task": task, "data.columns": columns_by_role, "data.max_rows": max_rows, "model.name": model})


def parse_rate(text: str | None) -> float | str | None:
    """Parse a learning rate; what is no number is left to the recipe."""
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Parse `text=review,label=stars`; a comma after which no role follows belongs to a column's name."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in NEXT_ROLE.split(text)]
    if not all(equals and role.strip() and name.strip() for role, equals, name in pairs):
        raise bad_value(msg("takes ROLE=NAME,ROLE=NAME: for example text=review,label=stars"), "--columns")
    return {role.strip(): name.strip() for role, _, name in pairs}
