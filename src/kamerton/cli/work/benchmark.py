"""What `kamerton evaluate RUN --benchmarks` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.core.message_json import to_json
from kamerton.deliver.predictor import Predictor
from kamerton.forgetting.benchmarks import find_tasks
from kamerton.pipeline.forgetting import measure_benchmarks
from kamerton.runs.run import Run


def run(path: Path, names: Sequence[str], json: bool) -> None:
    """Ask the base and the tuned model of a run the same rows, and print both beside each other."""
    find_tasks(names)
    predictor = Predictor(Run(path))
    setup = predictor.setup
    changes = [one.change for one in measure_benchmarks(setup, predictor.engine, names, setup.recipe.benchmarks.rows)]
    if json:
        print_json([to_json(change) for change in changes])
        return
    width = max((len(change.name) for change in changes), default=0)
    for one in changes:
        interval = f"{one.change:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
        print(f"{one.name:<{width}}   base {one.base:.4f}   tuned {one.tuned:.4f}   change {interval}")
