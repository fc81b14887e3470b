"""`kamerton tune`: from a data file to a verdict."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import (
    AsJson,
    Assignments,
    Benchmarks,
    Columns,
    Epochs,
    Language,
    LearningRate,
    MaxRows,
    Method,
    Model,
    Require,
    Task,
    TooLong,
    call,
    given,
    parse_columns,
    parse_rate,
)
from kamerton.data.named import require_data

EXAMPLES = (
    "kamerton tune reviews.csv",
    "kamerton tune answers.jsonl --model smollm2 --method lora",
    "kamerton tune runs/x/recipe.yaml --out runs/again",
)


def tune(
    data: Annotated[Path, typer.Argument(metavar="DATA|RECIPE.yaml", show_default=False)],
    task: Task = None,
    model: Model = None,
    method: Method = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; a new one under runs/ if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train so many times on the same split; the verdict counts the spread.")
    ] = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    max_rows: MaxRows = None,
    columns: Columns = None,
    too_long: TooLong = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server as one more contender.")
    ] = None,
    require: Require = None,
    remedy: Annotated[
        str | None,
        typer.Option(metavar="auto|NAME,…", help="Remedies to try against what training shows: {remedies}."),
    ] = None,
    benchmarks: Benchmarks = None,
    assignments: Assignments = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Tune a model on a data file and judge it: read, audit, split, contenders, train, verdict, report."""
    flags = {
        "data.task": task,
        "model.name": model,
        "method.name": method,
        "seed": seed,
        "seeds": seeds,
        "train.epochs": epochs,
        "train.learning_rate": parse_rate(learning_rate),
        "data.max_rows": max_rows,
        "prompt.against": against,
        "data.too_long": too_long,
        "remedy.names": remedy.split(",") if remedy else None,
        "benchmarks.tasks": benchmarks.split(",") if benchmarks else None,
        "data.columns": parse_columns(columns),
    }
    needs = partial(require_data, data)
    met = call("tune", data, out, given(flags), assignments or [], require, json, language=language, needs=needs)
    raise typer.Exit(OK if met else UNMET)
