"""`kamerton curve`: how much more data would help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli import options
from kamerton.data.named import require_data

EXAMPLES = ("kamerton curve reviews.csv --model minilm",)


def curve(
    data: options.Data,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    max_rows: options.MaxRows = None,
    target: Annotated[int | None, typer.Option(min=1, help="Rows to estimate for; twice those given if not.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page's file; in runs/ if not given.")] = None,
    assignments: options.Assignments = None,
    language: options.Language = None,
    json: options.AsJson = False,
) -> None:
    """Estimate how much more data would help: scores at five sizes, extrapolated with a band, and a chart."""
    flags = options.data_flags(task, columns, model, max_rows)
    needs = partial(require_data, data)
    options.call("curve", data, target, out, flags, assignments or [], json, language=language, needs=needs)
