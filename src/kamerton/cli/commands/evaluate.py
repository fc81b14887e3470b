"""`kamerton evaluate`: score a tuned model on other data, or on benchmark tasks beside its base."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Benchmarks, Language, RunPath, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg
from kamerton.data.named import require_data

EXAMPLES = ("kamerton evaluate runs/reviews other.csv", "kamerton evaluate runs/chats --benchmarks arc_easy")


def evaluate(
    run: RunPath,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A data file that has answers.", show_default=False)
    ] = None,
    benchmarks: Benchmarks = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Score a run's tuned model on other data that has answers, or run benchmark tasks on it and its base.

    Rows that cannot be scored, rows that are cut to what the model takes, and rows whose text the run was trained on
    are counted on the standard error stream.
    """
    if (data is None) == (benchmarks is None):
        raise bad_value(msg("give either a data file or --benchmarks TASK,…"), "DATA")
    if data is not None:
        call("evaluate", run, data, json, language=language, needs=partial(require_data, data))
    elif benchmarks is not None:
        call("benchmark", run, benchmarks.split(","), json, language=language)
