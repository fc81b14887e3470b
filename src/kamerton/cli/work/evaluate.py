"""What `kamerton evaluate` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.outcomes import ClassResult
from kamerton.run import Run
from kamerton.use import score_on


def run(path: Path, data: Path, json: bool) -> None:
    """Score a run's tuned model on other data."""
    contender = score_on(Run(path), data)
    if json:
        print_json(asdict(contender))
        return
    for name, value in contender.metrics.items():
        print(f"{name:<16} {value.value:.4f}   95% interval {value.low:.4f} to {value.high:.4f}")
    print_classes(contender.per_class)


def print_classes(results: Sequence[ClassResult]) -> None:
    """Write a table of the classes, if there are any."""
    if not results:
        return
    width = max(len("class"), *(len(one.name) for one in results))
    print(f"\n{'class':<{width}}  precision  recall      f1    rows")
    for one in results:
        print(f"{one.name:<{width}} {one.precision:10.4f} {one.recall:7.4f} {one.f1:7.4f} {one.support:7,}")
