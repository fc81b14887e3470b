"""`kamerton ab`: an A/B test on production logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kamerton.cli.border import OK, UNMET
from kamerton.cli.options import AsJson, Language, Require, call
from kamerton.cli.usage import bad_value
from kamerton.core.messages import msg

EXAMPLES = ("kamerton ab log.jsonl --first new", "kamerton ab --simulate 1000")


def ab(
    log: Annotated[Path | None, typer.Argument(help="Outcomes, one JSON object a line.", show_default=False)] = None,
    first: Annotated[str | None, typer.Option(help="The variant whose gain is measured.")] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="A loss that still counts as not worse.")] = 0.02,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Confidence of the decision and of the interval.")
    ] = 0.95,
    simulate: Annotated[
        int | None, typer.Option(min=1, metavar="OUTCOMES", help="Show false alarms and power for so many outcomes.")
    ] = None,
    disagreement: Annotated[
        float, typer.Option(min=0, max=1, help="For --simulate: share of outcomes that are no ties.")
    ] = 0.2,
    trials: Annotated[int, typer.Option(min=1, help="For --simulate: number of simulated logs.")] = 2000,
    require: Require = None,
    language: Language = None,
    json: AsJson = False,
) -> None:
    """Test a log of outcomes of two variants; valid at every look, so stop as soon as it is decided.

    Lines of the log, in order: {"winner": "new"} or {"winner": "tie"}; {"scores": {"new": 0.9, "old": 0.4}};
    {"arm": "new", "outcome": 1}.
    """
    if (log is None) == (simulate is None):
        raise bad_value(msg("give a log, or the number of outcomes to --simulate"), "LOG")
    met = call("ab", log, first, margin, confidence, simulate, disagreement, trials, require, json, language=language)
    raise typer.Exit(OK if met else UNMET)
