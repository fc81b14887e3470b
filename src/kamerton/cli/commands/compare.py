"""`kamerton compare`: runs in pairs, on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, call

EPILOG = "Example:  kamerton compare runs/lora runs/full"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Runs on the same test rows.")],
    json: AsJson = False,
) -> None:
    """Compare runs on the same test rows, in pairs, with intervals."""
    call("compare", runs, json)
