"""`kamerton show`: what the model will see."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from kamerton.cli import options
from kamerton.data.named import require_data

EXAMPLES = ("kamerton show answers.jsonl --model smollm2 --rows 3",)


def show(
    data: options.Data,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    assignments: options.Assignments = None,
    json: options.AsJson = False,
    language: options.Language = None,
) -> None:
    """Show what the model gets: the template, every token, what is trained on, what is cut."""
    flags = options.data_flags(task, columns, model)
    needs = partial(require_data, data)
    options.call("show", data, rows, flags, assignments or [], json, language=language, needs=needs)
