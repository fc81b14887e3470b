"""`kamerton evaluate`: score a tuned model on other data, or on benchmark tasks beside its base."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Benchmarks, Language, RunPath, call
from kamerton.data.named import require_data

EPILOG = "Examples:  kamerton evaluate runs/reviews other.csv   |   kamerton evaluate runs/chats --benchmarks arc_easy"


def evaluate(
    run: RunPath,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A data file that has answers.", show_default=False)
    ] = None,
    benchmarks: Benchmarks = None,
    language: Language = "en",
    json: AsJson = False,
) -> None:
    """Score a run's tuned model on other data that has answers, or ask it and its base benchmark tasks.

    It is told which rows were left out because they cannot be scored, which were cut to what the model takes, and how
    many have a text that the run was trained on.
    """
    if (data is None) == (benchmarks is None):
        raise typer.BadParameter("name either a data file or --benchmarks TASK,…", param_hint="DATA")
    if data is not None:
        call("evaluate", run, data, json, language=language, needs=partial(require_data, data))
    elif benchmarks is not None:
        call("benchmark", run, benchmarks.split(","), json)
