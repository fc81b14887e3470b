"""Flags that commands share, and the call of a command's work."""

import gc
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from kamerton.cli.border import Border
from kamerton.cli.help import bad_value
from kamerton.cli.interrupts import leave_at_once, stop_properly
from kamerton.cli.speech import LANGUAGE, speak, worded
from kamerton.cli.start import NOTHING_STARTED
from kamerton.core import registry
from kamerton.core.messages import msg
from kamerton.i18n.language import LANGUAGES, VARIABLE, language_of
from kamerton.i18n.language import Language as AnyLanguage

NEXT_ROLE = re.compile(r",(?=\s*\w+\s*=)")
"""What stands between two columns: a comma before the next role."""
MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?\s*", re.IGNORECASE)
UNITS = {letter: 1024**power for power, letter in enumerate("KMGT", start=1)}
"""As memory is printed: 24 GB are 24 x 2^30 bytes."""


def demand(word: str | None) -> str | None:
    """Check what is demanded of a verdict."""
    if word not in (None, "ship", "not-worse"):
        raise bad_value(msg("'{word}' is neither ship nor not-worse", word=word))
    return word


Data = Annotated[
    Path,
    Argument(
        metavar="DATA",
        help="A data file (CSV, JSON, Parquet, a workbook, text, CoNLL …), an archive, a folder, a pattern, or an "
        "address of these: s3://bucket/rows.csv.",
        show_default=False,
        readable=False,  # whoever reads it reports what stands in the way, as of any file
    ),
]
RunPath = Annotated[
    Path, Argument(metavar="RUN", help="A run's folder, or its address.", show_default=False, readable=False)
]
Task = Annotated[str | None, Option(help="The task; found from the columns if not given.")]
Columns = Annotated[str | None, Option(metavar="ROLE=NAME,…", help="Which column holds which part of an example.")]
Model = Annotated[str | None, Option(help="A known name, a folder, or a Hugging Face id.")]
Device = Annotated[str | None, Option(metavar="auto|cpu|cuda|mps", help="Where to compute; cuda:1 is the second card.")]
ForMachine = Annotated[
    str | None,
    Option(
        "--for",
        metavar="MACHINE",
        help="A machine that is not here: a card (t4, a100-80gb, rtx4090), 24GB of any recent one, cpu-16gb, mac-32gb.",
    ),
]
Method = Annotated[str | None, Option(help="One of: {methods}.")]
Epochs = Annotated[float | None, Option(help="Passes over the training rows.")]
LearningRate = Annotated[
    str | None, Option(metavar="RATE|auto", help="Peak learning rate; auto tries four on a part of the rows.")
]
Out = Annotated[Path | None, Option(help="The run's folder; a new one under runs/ if not given.")]
Seed = Annotated[int | None, Option(help="Seed of everything random.")]
MaxRows = Annotated[int | None, Option(help="Use at most this many rows, drawn at random.")]
TooLong = Annotated[
    str | None,
    Option(metavar="cut|drop|window|refuse", help="What to do with rows that are longer than the model takes."),
]
On = Annotated[
    str | None,
    Option(
        metavar="PLACE",
        help="Where independent pieces of work (rates, remedies, seeds; folds of a curve) are done at the same time, "
        "with a device each: processes:4 on this machine; ray, ray:4 or ray:HOST:PORT. docs/workers.md.",
    ),
]
Cores = Annotated[int, Option(min=1, help="For --on: cores of each worker, if it has no card.")]
Assignments = Annotated[list[str] | None, Option("--set", metavar="GROUP.FIELD=VALUE", help="Any other setting.")]
Against = Annotated[
    str | None,
    Option(metavar="URL|FILE", help="An OpenAI-compatible server, or a GGUF file, as one more contender."),
]
Benchmarks = Annotated[
    str | None,
    Option(
        metavar="TASK,…",
        help="Tasks of lm-eval, or task files x.yaml, evaluated before and after; needs kamerton[benchmarks].",
    ),
]
Require = Annotated[
    str | None,
    Option(
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
    Option(
        metavar="en|ru",
        envvar=VARIABLE,
        help="Of what is printed and of the pages; that of the locale if not given. Files for machines stay English.",
        callback=language_word,
    ),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON, for machines.")]


def call(work: str, *arguments: object, language: str | None, needs: Callable[[], None] | None = None) -> Any:
    """Run the work of a command, with everything that goes wrong turned into a message and a status.

    `work` is `module:name` in `actions/`; the language is its last argument. `needs` checks the names that were given,
    before anything heavy is imported.
    """
    speak(language_word(language))
    with Border():
        if needs is not None:
            needs()
        leave_at_once(worded(NOTHING_STARTED))
        gc.disable()  # collecting garbage would take a tenth of the start
        try:
            run = registry.load(f"kamerton.cli.actions.{work}")
        finally:
            gc.freeze()
            gc.enable()
        stop_properly()
        return run(*arguments, LANGUAGE.get())


def data_flags(
    task: str | None,
    columns: str | None,
    model: str | None,
    max_rows: int | None = None,
    others: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the settings of the flags that most commands have, and others, as far as they were given."""
    usual = {"data.task": task, "data.columns": parse_columns(columns), "data.max_rows": max_rows, "model.name": model}
    return {path: value for path, value in {**usual, **(others or {})}.items() if value is not None}


def parse_rate(text: str | None) -> float | str | None:
    """Parse a learning rate; what is no number is left to the recipe."""
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def parse_memory(text: str | None) -> int | None:
    """Parse a size of memory in bytes, as cards and machines are named: `24GB`, `16 GiB`, `500MB`."""
    if text is None:
        return None
    found = MEMORY.fullmatch(text)
    if not found:
        raise bad_value(msg("takes a size such as 24GB or 500MB"), "--memory")
    return int(float(found[1]) * UNITS[found[2].upper()])


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Parse `text=review,label=stars`; a comma after which no role follows belongs to a column's name."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in NEXT_ROLE.split(text)]
    if not all(equals and role.strip() and name.strip() for role, equals, name in pairs):
        raise bad_value(msg("takes ROLE=NAME,ROLE=NAME: for example text=review,label=stars"), "--columns")
    return {role.strip(): name.strip() for role, _, name in pairs}
