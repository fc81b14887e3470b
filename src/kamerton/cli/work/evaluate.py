"""What `kamerton evaluate` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from kamerton.cli.output import print_json
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
