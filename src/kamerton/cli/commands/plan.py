"""`kamerton plan`: model, method, settings, memory and time before anything starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli import options
from kamerton.data.named import require_data

NewTokens = Annotated[
    Path | None,
    typer.Option("--new-tokens", metavar="FILE", help="Write the new tokens that would pay, for model.new_tokens."),
]

EXAMPLES = ("kamerton plan reviews.csv", "kamerton plan answers.jsonl --model smollm2 --method lora")


def plan(
    data: options.Data,
    task: options.Task = None,
    model: options.Model = None,
    method: options.Method = None,
    epochs: options.Epochs = None,
    learning_rate: options.LearningRate = None,
    max_rows: options.MaxRows = None,
    columns: options.Columns = None,
    assignments: options.Assignments = None,
    language: options.Language = None,
    new_tokens: NewTokens = None,
    json: options.AsJson = False,
) -> None:
    """Show what `tune` would do and why, the alternatives, and the time and memory that it takes."""
    flags = options.data_flags(task, columns, model, max_rows) | options.given(
        {"method.name": method, "train.epochs": epochs, "train.learning_rate": options.parse_rate(learning_rate)}
    )
    needs = partial(require_data, data)
    options.call("plan", data, flags, assignments or [], new_tokens, json, language=language, needs=needs)
