"""A story drawn while it happens: what `tune` and `resume` share."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from kamerton.cli.output import print_json
from kamerton.report.terminal import Screen
from kamerton.run import Run
from kamerton.tune import Told


def tell(run: Run, told: Iterator[Told], json: bool) -> None:
    """Draw a story while it happens, and its verdict at the end."""
    if json:
        for _ in told:
            pass
        print_json(run.result)
        return
    with Screen(Console()) as screen:
        for item in told:
            screen.show(item)
        screen.show_verdict(run)
