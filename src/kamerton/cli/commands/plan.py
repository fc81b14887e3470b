"""`kamerton plan`: model, method, settings, memory and time before anything starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import (
    AsJson,
    Assignments,
    Columns,
    Data,
    Epochs,
    Language,
    LearningRate,
    MaxRows,
    Method,
    Model,
    Task,
    call,
    given,
    parse_columns,
    parse_rate,
)
from kamerton.data.named import require_data

NewTokens = Annotated[
    Path | None,
    typer.Option("--new-tokens", metavar="FILE", help="Write the new tokens that would pay, for model.new_tokens."),
]

EXAMPLES = ("kamerton plan reviews.csv", "kamerton plan answers.jsonl --model smollm2 --method lora")


def plan(
    data: Data,
    task: Task = None,
    model: Model = None,
    method: Method = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    max_rows: MaxRows = None,
    columns: Columns = None,
    assignments: Assignments = None,
    language: Language = None,
    new_tokens: NewTokens = None,
    json: AsJson = False,
) -> None:
    """Show what `tune` would do and why, the alternatives, and the time and memory that it takes."""
    flags = {
        "data.task": task,
        "model.name": model,
        "method.name": method,
        "train.epochs": epochs,
        "train.learning_rate": parse_rate(learning_rate),
        "data.max_rows": max_rows,
        "data.columns": parse_columns(columns),
    }
    needs = partial(require_data, data)
    call("plan", data, given(flags), assignments or [], new_tokens, json, language=language, needs=needs)
