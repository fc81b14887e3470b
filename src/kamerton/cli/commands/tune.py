"""`kamerton tune`: from a data file to a verdict."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli import options
from kamerton.cli.border import OK, UNMET
from kamerton.data.named import require_data

EXAMPLES = (
    "kamerton tune reviews.csv",
    "kamerton tune answers.jsonl --model smollm2 --method lora",
    "kamerton tune runs/x/recipe.yaml --out runs/again",
)


def tune(
    data: Annotated[Path, typer.Argument(metavar="DATA|RECIPE.yaml", show_default=False, readable=False)],
    task: options.Task = None,
    model: options.Model = None,
    method: options.Method = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; a new one under runs/ if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train so many times on the same split; the verdict counts the spread.")
    ] = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    max_rows: options.MaxRows = None,
    columns: options.Columns = None,
    too_long: options.TooLong = None,
    against: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server as one more contender.")
    ] = None,
    require: options.Require = None,
    remedy: Annotated[
        str | None,
        typer.Option(metavar="auto|NAME,…", help="Remedies to try against what training shows: {remedies}."),
    ] = None,
    benchmarks: options.Benchmarks = None,
    assignments: options.Assignments = None,
    language: options.Language = None,
    json: options.AsJson = False,
) -> None:
    """Tune a model on a data file and judge it: read, audit, split, contenders, train, verdict, report."""
    flags = {
        "method.name": method,
        "seed": seed,
        "seeds": seeds,
        "train.epochs": epochs,
        "train.learning_rate": options.parse_rate(learning_rate),
        "prompt.against": against,
        "data.too_long": too_long,
        "remedy.names": remedy.split(",") if remedy else None,
        "benchmarks.tasks": benchmarks.split(",") if benchmarks else None,
    }
    given = options.data_flags(task, columns, model, max_rows) | options.given(flags)
    arguments = (data, out, given, assignments or [], require, json)
    met = options.call("tune", *arguments, language=language, needs=partial(require_data, data))
    raise typer.Exit(OK if met else UNMET)
