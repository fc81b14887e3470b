"""What `kamerton compare` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.errors import Fault, RunError
from kamerton.run import Run
from kamerton.use import compare_all


def run(paths: Sequence[Path], json: bool) -> None:
    """Compare runs with the first one, in pairs."""
    if len(paths) < 2:
        raise RunError(Fault("one run cannot be compared", remedy="name two or more"))
    comparisons = compare_all([Run(path) for path in paths])
    if json:
        print_json([asdict(comparison) for comparison in comparisons])
        return
    for path, comparison in zip(paths[1:], comparisons, strict=True):
        print(
            f"{paths[0]} minus {path}: {comparison.difference:+.4f} "
            f"(interval {comparison.low:+.4f} to {comparison.high:+.4f}, p = {comparison.p_value:.3g}); "
            f"smallest difference these rows could show: {comparison.minimum_detectable:.4f}"
        )
