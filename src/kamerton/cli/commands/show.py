"""`kamerton show`: what the model will see."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Assignments, Columns, Data, Language, Model, Task, call, given, parse_columns
from kamerton.data.named import require_data

EXAMPLES = ("kamerton show answers.jsonl --model smollm2 --rows 3",)


def show(
    data: Data,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    task: Task = None,
    columns: Columns = None,
    model: Model = None,
    assignments: Assignments = None,
    json: AsJson = False,
    language: Language = None,
) -> None:
    """Show what the model gets: the template, every token, what is trained on, what is cut."""
    flags = {"data.task": task, "data.columns": parse_columns(columns), "model.name": model}
    needs = partial(require_data, data)
    call("show", data, rows, given(flags), assignments or [], json, language=language, needs=needs)
