"""`kamerton evaluate`: score a tuned model on other data."""

from __future__ import annotations

from kamerton.cli.options import AsJson, Data, RunPath, call

EPILOG = "Example:  kamerton evaluate runs/reviews other.csv"


def evaluate(run: RunPath, data: Data, json: AsJson = False) -> None:
    """Score a run's tuned model on other data that has answers."""
    call("evaluate", run, data, json)
