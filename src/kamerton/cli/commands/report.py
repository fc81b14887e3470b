"""`kamerton report`: write a run's report anew, or one page that compares several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg

EXAMPLES = ("kamerton report runs/reviews --language ru", "kamerton report runs/lora runs/full")


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="A run; several are compared on one page.", readable=False)
    ],
    language: Language = None,
    out: Annotated[Path | None, typer.Option(help="The comparison's file; comparison.html if not given.")] = None,
    json: AsJson = False,
) -> None:
    """Write a run's report anew and print its path; several runs are compared on one page."""
    if out and len(runs) == 1:
        raise bad_value(msg("a single run's report stands in its own folder"), "--out")
    call("report", runs, out, json, language=language)
