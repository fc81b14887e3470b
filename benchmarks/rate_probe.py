"""The rate that `--learning-rate auto` finds against a sweep of six: points of the deciding metric on test rows.

python benchmarks/rate_probe.py DATA… [--model minilm] [--method full] [--rows 1500] [--epochs 2] [--seeds 3]
    [--runs FOLDER]

One `kamerton tune` for each rate and one for `auto`, on the same splits, in a process of its own. The mean over some
seeds counts, for one training and its few hundred test rows are off by more than the point that matters. Runs that
are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kamerton.runs.recipe import AUTO
from kamerton.runs.run import Run

RATES = ("1.2e-05", "3.7e-05", "1.1e-04", "3.3e-04", "1e-03", "3e-03")
"""Three apart, over what is published for small encoders and beyond on both sides."""
TESTED = 0.6
"""Share of the rows that are tested on: a point is nine of 1,500 rows."""
ALLOWED = 0.01
"""How much less than the best of the sweep the probe's rate may score."""


@dataclass(frozen=True)
class Sweep:
    """One data set's trainings."""

    data: Path
    model: str
    method: str
    rows: int
    epochs: float
    seeds: int
    runs: Path

    def run(self, rate: str, seed: int) -> Path:
        """Give the folder of a training."""
        return self.runs / f"{self.data.stem}-{rate}-{seed}"

    def score(self, rate: str, seed: int) -> float:
        """Train at a rate, or read what came of it; give the tuned model's score on the test rows."""
        run = self.run(rate, seed)
        if not (run / "result.json").exists():
            shutil.rmtree(run, ignore_errors=True)  # what was stopped begins anew
            quick = (
                f"seed={seed}",
                "evaluate.forgetting=off",
                "prompt.search=false",
                "prompt.nearest=false",
                "evaluate.shots=0",
            )
            flags = ["--model", self.model, "--method", self.method, "--max-rows", str(self.rows), "--out", str(run)]
            flags += ["--epochs", str(self.epochs), "--learning-rate", rate, "--set", f"split.test={TESTED}"]
            flags += [part for setting in quick for part in ("--set", setting)]
            subprocess.run(
                [sys.executable, "-m", "kamerton", "tune", str(self.data), *flags], capture_output=True, check=True
            )
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        [tuned] = [one for one in result["contenders"] if one["name"] == "tuned model"]
        return float(tuned["metrics"][result["primary_metric"]]["value"])

    def lost(self) -> float:
        """Print every rate's mean score, and give what the probe's rate loses to the best."""
        said = f"{self.rows} rows, {self.model}, {self.method}, {self.epochs:g} epochs, {self.seeds} seeds"
        print(f"{self.data.stem}: {said}", flush=True)
        scores = {}
        for rate in (*RATES, AUTO):
            each = [self.score(rate, seed) for seed in range(self.seeds)]
            scores[rate] = statistics.mean(each)
            print(f"  {rate:>8}  {scores[rate]:.3f}  of {', '.join(f'{one:.3f}' for one in each)}", flush=True)
        found = [Run(self.run(AUTO, seed)).recipe.train.peak for seed in range(self.seeds)]
        lost = max(scores[rate] for rate in RATES) - scores[AUTO]
        chosen = ", ".join(f"{rate:.2g}" for rate in found)
        print(f"  the probe chose {chosen}: {lost:+.3f} behind the best of the sweep", flush=True)
        return lost


def main() -> None:
    """Sweep over each data set; end with 1 if the probe lost more than a point on one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--method", default="full")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/bench-probe"))
    given = parser.parse_args()
    how = (given.model, given.method, given.rows, given.epochs, given.seeds, given.runs)
    lost = [Sweep(data, *how).lost() for data in given.data]
    sys.exit(int(max(lost) > ALLOWED))


if __name__ == "__main__":
    main()
