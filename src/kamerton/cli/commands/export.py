"""`kamerton export`: the tuned model in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, RunPath, call

EXAMPLES = (
    "kamerton export runs/reviews --to merged",
    "kamerton export runs/reviews --to adapter --out reviews",
)


def export(
    run: RunPath,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="One of: {exports}.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A new folder; exported/FORMAT in the run's if not given.")
    ] = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Export the tuned model, then load it in a fresh process and compare its answers."""
    call("export", run, to, out, json, language=language)
