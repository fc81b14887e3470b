"""`kamerton dial`: how much of the training to keep, weighed against what it made the model forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, RunPath, call

EXAMPLES = ("kamerton dial runs/reviews", "kamerton dial runs/reviews --out runs/reviews-dialled")


def dial(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option(help="A new run with the chosen strength: verified, judged and reported like any.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Take this strength instead of the one chosen by the rule.")
    ] = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Measure a tuned model at several strengths, on the validation rows and on the forgetting probe."""
    call("dial", run, out, strength, json, language=language)
