"""`kamerton report`: write a run's report anew."""

from __future__ import annotations

from kamerton.cli.options import RunPath, call

EPILOG = "Example:  kamerton report runs/reviews"


def report(run: RunPath) -> None:
    """Write a run's report anew and say where it is."""
    call("report", run)
