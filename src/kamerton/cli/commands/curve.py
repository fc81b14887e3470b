"""`kamerton curve`: how much more data would help."""

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
    Language,
    MaxRows,
    Model,
    Task,
    call,
    given,
    parse_columns,
)
from kamerton.data.named import require_data

EXAMPLES = ("kamerton curve reviews.csv --model minilm",)


def curve(
    data: Data,
    task: Task = None,
    columns: Columns = None,
    model: Model = None,
    max_rows: MaxRows = None,
    target: Annotated[int | None, typer.Option(min=1, help="Rows to estimate for; twice those given if not.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page's file; in runs/ if not given.")] = None,
    assignments: Assignments = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Estimate how much more data would help: scores at five sizes, extrapolated with a band, and a chart."""
    flags = {
        "data.task": task,
        "data.columns": parse_columns(columns),
        "data.max_rows": max_rows,
        "model.name": model,
    }
    needs = partial(require_data, data)
    call("curve", data, target, out, given(flags), assignments or [], json, language=language, needs=needs)
