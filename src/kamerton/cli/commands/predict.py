"""`kamerton predict`: ask a tuned model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.options import AsJson, Language, RunPath, call
from kamerton.data.named import require_text_or_file

EXAMPLES = ('kamerton predict runs/reviews "A fine film"', "cat texts | kamerton predict runs/x -")


def predict(
    run: RunPath,
    input: Annotated[str, typer.Argument(metavar="[TEXT|FILE|-]", help="A text, a data file, or - for lines.")] = "-",
    adapter: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="Also answer with this run's adapter over the same base.")
    ] = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Answer one text, the rows of a file, or the lines of standard input.

    Each row of a file gets exactly one line, in order: an empty one where the row cannot be used, which is reported on
    the standard error stream with its place. An answer with line ends is written as a JSON string, on one line.
    Blank lines of a CSV file of one column are rows; those of standard input are skipped. Bytes that are not
    UTF-8 are decoded as those of a data file. Inputs that are longer than the model takes are cut, as in training,
    and reported, too.
    """
    call("predict", run, input, adapter or [], json, language=language, needs=partial(require_text_or_file, input))
