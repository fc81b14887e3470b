"""`kamerton export`: the tuned model in a form for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, RunPath, call
from kamerton.core import registry

EPILOG = (
    "Examples:  kamerton export runs/reviews --to merged   |   kamerton export runs/reviews --to adapter --out reviews"
)
FORMATS = ", ".join(registry.names("exports"))


def export(
    run: RunPath,
    to: Annotated[str, typer.Option(metavar="FORMAT", help=f"One of: {FORMATS}.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A new folder; exported/FORMAT in the run's if not given.")
    ] = None,
    language: Language = "en",
    json: AsJson = False,
) -> None:
    """Write the tuned model in another form, loaded in a fresh process and compared before it is called done."""
    call("export", run, to, out, json, language=language)
