"""`kamerton audit`: what is wrong with the data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli import options
from kamerton.data.named import require_data

EXAMPLES = ("kamerton audit reviews.csv --model minilm", "kamerton audit reviews.csv --fix --out page.html")


def audit(
    data: options.Data,
    task: options.Task = None,
    columns: options.Columns = None,
    model: options.Model = None,
    max_rows: options.MaxRows = None,
    assignments: options.Assignments = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write a cleaned copy beside the data, and a row ledger.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="PAGE", help="Write the findings as an HTML page.")] = None,
    language: options.Language = None,
    json: options.AsJson = False,
) -> None:
    """Find what is wrong with the data; with a model, also what it would cut and how many tokens a word takes."""
    flags = options.data_flags(task, columns, model, max_rows)
    needs = partial(require_data, data)
    options.call("audit", data, flags, fix, out, json, assignments or [], language=language, needs=needs)
