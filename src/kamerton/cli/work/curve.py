"""What `kamerton curve` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from kamerton.begin import RUNS
from kamerton.cli.output import print_json
from kamerton.curve import draw_curve
from kamerton.outcomes import Curve
from kamerton.recipe import parse_assignment, resolve
from kamerton.report.curve import advice, gain_sentence, write_curve
from kamerton.report.terminal import Screen
from kamerton.report.text import number


def run(
    data: Path,
    target: int | None,
    out: Path | None,
    flags: Mapping[str, object],
    assignments: Sequence[str],
    json: bool,
) -> None:
    """Draw the learning curve of a data file: print it, and write its page."""
    settings = dict(parse_assignment(text) for text in assignments)
    recipe = resolve(None, {"data.path": str(data), **flags, **settings})
    with Screen(Console(stderr=True)) as screen:
        for told in draw_curve(recipe, target):
            if isinstance(told, Curve):
                _show(told, out or RUNS / f"{data.stem}-curve.html", json)
            else:
                screen.show(told)


def _show(curve: Curve, path: Path, json: bool) -> None:
    page = write_curve(curve, path)
    if json:
        print_json({**asdict(curve), "page": page})
        return
    _print(curve)
    print(f"\n{page}")


def _print(curve: Curve) -> None:
    growth = curve.growth
    print(f"{curve.task}, a head on the features of {curve.model}\n")
    print(f"{'training rows':>13}  {growth.metric}")
    for reach in growth.measured:
        print(
            f"{reach.rows:>13,}  {number(reach.score.value)} ({number(reach.score.low)} to {number(reach.score.high)})"
        )
    for reach in (growth.now, growth.target):
        score = f"{number(reach.score.value)} ({number(reach.score.low)} to {number(reach.score.high)})"
        print(f"{reach.rows:>13,}  {score}, estimated")
    print(f"\n{gain_sentence(growth).capitalize()}. {advice(growth)}")
