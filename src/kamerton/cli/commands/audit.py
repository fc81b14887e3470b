"""`kamerton audit`: what is wrong with the data."""

from __future__ import annotations

from kamerton.cli.options import AsJson, Columns, Data, MaxRows, Model, Task, call, given, parse_columns

EPILOG = "Example:  kamerton audit reviews.csv --model minilm"


def audit(
    data: Data,
    task: Task = None,
    columns: Columns = None,
    model: Model = None,
    max_rows: MaxRows = None,
    json: AsJson = False,
) -> None:
    """Say what is wrong with the data; with a model, also what it would cut."""
    flags = {
        "data.task": task,
        "data.columns": parse_columns(columns),
        "data.max_rows": max_rows,
        "model.name": model,
    }
    call("audit", data, given(flags), json)
