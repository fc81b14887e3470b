"""Time `kamerton curve` on 2,000 rows, and see in ten trials whether its band holds the score at twice the rows.

The truth is measured: a head trained on 4,000 rows, the 2,000 of the trial among them, scored on the thousands left.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeClassifierCV

from kamerton.core import registry
from kamerton.core.outcomes import Growth
from kamerton.core.records import Example, Prediction, Progress
from kamerton.pipeline.prepare import bind, parse_data
from kamerton.planning.growth import Counted, choose_sizes, count_heads, grow
from kamerton.planning.learning_curve import bare_setup, embedded
from kamerton.runs.recipe import resolve
from kamerton.session.engines import untuned_engine
from kamerton.statistics.linear_probe import STRENGTHS
from kamerton.text.near_duplicates import near_duplicate_groups

ROWS, TRIALS = 2_000, 10
MOST_SECONDS, FEWEST_HELD = 90, 8


@dataclass(frozen=True)
class Rows:
    """All rows with their features, computed once."""

    examples: Sequence[Example]
    golds: np.ndarray
    features: np.ndarray
    alike: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="minilm")
    arguments = parser.parse_args()
    seconds = time_command(arguments.data, arguments.model)
    print(f"kamerton curve on {ROWS:,} rows: {seconds:.0f} s (at most {MOST_SECONDS} s)", flush=True)
    rows = read_rows(arguments.data, arguments.model)
    print(f"\n{'trial':>5}  {'estimated at twice the rows':>27}  {'measured':>8}  {'gain estimated':>16}  measured")
    held = [trial(rows, number) for number in range(TRIALS)]
    print(f"\nthe band holds the score at twice the rows in {sum(held)} of {TRIALS} trials (at least {FEWEST_HELD})")
    return 0 if seconds <= MOST_SECONDS and sum(held) >= FEWEST_HELD else 1


def time_command(data: Path, model: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kamerton", "curve", str(data), "--model", model, "--max-rows", str(ROWS)]
        command += ["--task", "text-classification", "--columns", "text=text,label=label"]
        began = time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/curve.html"], check=True, capture_output=True)
        return time.perf_counter() - began


def read_rows(data: Path, model: str) -> Rows:
    settings = {"data.path": str(data), "model.name": model, "data.task": "text-classification"}
    parsed = parse_data(resolve(None, {**settings, "data.columns": {"text": "text", "label": "label"}}))
    bound, examples = bind(parsed), parsed.examples
    engine = untuned_engine(bare_setup(parsed, bound, examples))
    features = last(embedded(engine, bound.form.prompts(examples, bound.tokenizer, bound.max_tokens)))
    alike = near_duplicate_groups([example.text for example in examples])
    return Rows(examples, np.array([example.gold for example in examples]), features, alike)


def last(told: Generator[Progress, None, np.ndarray]) -> np.ndarray:
    while True:
        try:
            next(told)
        except StopIteration as end:
            value: np.ndarray = end.value
            return value


def trial(rows: Rows, number: int) -> bool:
    """Continue the curve of some rows, and hold it against a head trained on twice as many."""
    order = np.random.default_rng(number).permutation(len(rows.golds))
    growth = estimate(rows, order[:ROWS])
    now, twice = (measured(rows, order[:size], order[2 * ROWS :]) for size in (ROWS, 2 * ROWS))
    band, gain = growth.target.score, growth.gain
    held = band.low <= twice <= band.high
    estimated = f"{band.value:>9.3f} ({band.low:.3f} to {band.high:.3f})  {twice:>8.3f}"
    gained = f"{100 * gain.low:>+5.1f} to {100 * gain.high:>+5.1f}  {100 * (twice - now):+8.1f}"
    print(f"{number:>5}  {estimated}  {gained}{'' if held else '  missed'}", flush=True)
    return held


def estimate(rows: Rows, chosen: np.ndarray) -> Growth:
    metric = registry.choose("metrics", "accuracy")()
    examples = [rows.examples[i] for i in chosen]
    sizes = choose_sizes(ROWS, 2 * ROWS, "")
    *_, counted = count_heads(rows.features[chosen], examples, rows.alike[chosen].tolist(), metric, sizes, 0)
    assert isinstance(counted, Counted)
    return grow(counted, "accuracy", metric, rows=ROWS, target=2 * ROWS, confidence=0.95, seed=0)


def measured(rows: Rows, train: np.ndarray, test: np.ndarray) -> float:
    head = RidgeClassifierCV(STRENGTHS).fit(rows.features[train], rows.golds[train])
    answers = [Prediction(i, text) for i, text in enumerate(head.predict(rows.features[test]).tolist())]
    metric = registry.choose("metrics", "accuracy")()
    return float(metric.value(metric.statistics(rows.golds[test].tolist(), answers).sum(axis=0)))


if __name__ == "__main__":
    sys.exit(main())
