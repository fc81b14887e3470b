"""`kamerton ab`: two arms on living traffic, looked at whenever one likes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import AsJson, Require, call

EPILOG = (
    'Lines of the log, in order:  {"winner": "new"}  or  {"winner": "tie"}   |   {"scores": {"new": 0.9, "old": 0.4}}'
    '   |   {"arm": "new", "outcome": 1}'
    "   Examples:  kamerton ab log.jsonl --first new   |   kamerton ab --simulate 1000"
)


def ab(
    log: Annotated[Path | None, typer.Argument(help="Outcomes, one JSON object a line.", show_default=False)] = None,
    first: Annotated[str | None, typer.Option(help="The arm whose gain is asked for.")] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="How much worse still counts as not worse.")] = 0.02,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of the decision and the interval.")] = 0.95,
    simulate: Annotated[
        int | None, typer.Option(min=1, metavar="OUTCOMES", help="Show false alarms and power for so many outcomes.")
    ] = None,
    disagreement: Annotated[
        float, typer.Option(min=0, max=1, help="For --simulate: share of outcomes that are no ties.")
    ] = 0.2,
    trials: Annotated[int, typer.Option(min=1, help="For --simulate: simulated logs.")] = 2000,
    require: Require = None,
    json: AsJson = False,
) -> None:
    """Judge a log of outcomes of two arms, valid at every look: stop as soon as it is decided."""
    if (log is None) == (simulate is None):
        raise typer.BadParameter("name a log, or the number of outcomes to --simulate")
    met = call("ab", log, first, margin, confidence, simulate, disagreement, trials, require, json)
    raise typer.Exit(OK if met else UNMET)
