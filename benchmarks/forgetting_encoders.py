"""What encoders forget at the usual rate, and at one 30 times too high; writes docs/forgetting-encoders.md.

    python benchmarks/forgetting_encoders.py MODEL=DATA… [--runs runs/bench-forgetting-encoders] [--page PAGE]

The limits of `kamerton.forgetting.decide` for encoders stand on this: harmless tuning must stay under them, and
a rate 30 times too high must not. Each cell is one full training of some hundred rows; cells are kept, so that what
was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kamerton.core.files import write_json
from kamerton.core.outcomes import Forgotten
from kamerton.engine.engine import TorchEngine
from kamerton.forgetting.decide import conclude_forgetting
from kamerton.pipeline.forgetting import make_meter
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.training import score_validation, tune_model
from kamerton.runs.run import Run
from kamerton.session.engines import untuned_engine
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, open_setup

ROOT = Path(__file__).parent.parent
FACTORS, SEEDS, ROWS = (0, 1, 30), (0, 1, 2), 300
"""Multiples of the method's own rate, 0 for the base itself; trainings of each; rows of each data file."""
USUAL, SEVERE = 1, 30


@dataclass(frozen=True)
class Cell:
    """One training, and what it did."""

    model: str
    data: str
    factor: int
    seed: int
    score: float
    """On the validation rows."""
    decision: str
    measured: list[Forgotten]


def main() -> None:
    """Run the cells that are not there, and write the page; exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="MODEL=DATA")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench-forgetting-encoders")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "forgetting-encoders.md")
    asked = parser.parse_args()
    pairs = [pair.partition("=")[::2] for pair in asked.pairs]
    cells: list[Cell] = []
    for model, data in pairs:
        for seed in SEEDS:
            for factor in FACTORS if seed == SEEDS[0] else FACTORS[1:]:
                cells.append(cell(asked.runs, model, Path(data), factor, seed))
        asked.page.write_text("\n".join(page(cells)), encoding="utf-8")  # a stop leaves what is known
    broken = [one for one in cells if not holds(one)]
    for one in broken:
        print(f"FAIL {one.model}, {one.data}, {one.factor} times the rate, seed {one.seed}: {one.decision}")
    sys.exit(bool(broken))


def holds(cell: Cell) -> bool:
    """Say whether a decision is what a rate deserves; between the usual and the far too high any may be right."""
    return {0: cell.decision == "none", USUAL: cell.decision != "severe", SEVERE: cell.decision == "severe"}.get(
        cell.factor, True
    )


def cell(runs: Path, model: str, data: Path, factor: int, seed: int) -> Cell:
    """Train and measure, or read what was measured."""
    name = f"{model}-{data.stem}-{factor}-{seed}"
    path = runs / f"{name}.json"
    if not path.exists():
        shutil.rmtree(runs / name, ignore_errors=True)
        run = begun(data, runs / name, model, factor, seed)
        setup = open_setup(run)
        engine = untuned_engine(setup) if factor == 0 else trained(run, setup)
        found = make_meter(setup, engine, "whole").measure(engine)
        score = score_validation(setup, engine) if factor else 0.0
        decision = conclude_forgetting(found).decision
        write_json(path, asdict(Cell(model, data.stem, factor, seed, score, decision, [one.change for one in found])))
        shutil.rmtree(runs / name)
    values = json.loads(path.read_bytes())
    done = Cell(**{**values, "measured": [Forgotten(**one) for one in values["measured"]]})
    print(
        f"{name}: score {done.score:.3f}, {done.decision}: {'; '.join(line(one) for one in done.measured)}", flush=True
    )
    return done


def begun(data: Path, folder: Path, model: str, factor: int, seed: int) -> Run:
    """Freeze a split under a recipe with a multiple of the method's own rate."""
    values = {"model.name": model, "method.name": "full", "data.max_rows": ROWS, "train.epochs": 2, "seed": seed}
    run = new_run(data, folder, values)
    for _ in freeze(run, Clock(run)):
        pass
    recipe = run.recipe
    run.write_recipe(recipe.model_copy(update={"train": recipe.train.model_copy(
        update={"learning_rate": (factor or 1) * recipe.train.peak})}))  # fmt: skip
    return run


def trained(run: Run, setup: Setup) -> TorchEngine:
    """Train to the end and give the engine."""
    telling = tune_model(run, setup, Clock(run))
    while True:
        try:
            next(telling)
        except StopIteration as ended:
            return ended.value


def line(change: Forgotten) -> str:
    return f"{change.name} {change.base:.3f} → {change.tuned:.3f} ({change.low:+.3f} to {change.high:+.3f})"


INTRODUCTION = f"""\
# What encoders forget

Written by `make bench-forgetting-encoders`: {ROWS} rows, two epochs of full training at the method's own rate and at
30 times that; factor 0 is the base beside itself. Three numbers stand for each language of the probe: what a
linear classifier, trained anew on each model's embeddings, still reads off (kinds of texts, topics of questions), how
many of a text's ten nearest others are the same as before, and, where the base has a masked-language head, the loss of
masked words. The first and the last decide; neighbours are shown. Several seeds are given as their range.
"""


def page(cells: Sequence[Cell]) -> Iterator[str]:
    """Write the page, line by line."""
    yield INTRODUCTION
    for model, data in dict.fromkeys((one.model, one.data) for one in cells):
        yield f"## {model}, {data}\n"
        yield "| rate | score on validation rows | measure | change | 95% interval, widest | decision |"
        yield "|---:|---:|---|---:|---:|---|"
        for factor in FACTORS:
            some = [one for one in cells if (one.model, one.data, one.factor) == (model, data, factor)]
            yield from rows(factor, some)
        yield ""


def rows(factor: int, cells: Sequence[Cell]) -> Iterator[str]:
    """Write the measures of one rate, over its seeds."""
    for i, measure in enumerate(cells[0].measured):
        changes = [one.measured[i] for one in cells]
        first = i == 0
        yield (
            f"| {factor if first else ''} | {span([one.score for one in cells]) if first else ''} | {measure.name} "
            f"| {span([one.change for one in changes])} "
            f"| {min(one.low for one in changes):+.3f} to {max(one.high for one in changes):+.3f} "
            f"| {', '.join(one.decision for one in cells) if first else ''} |"
        )


def span(values: Sequence[float]) -> str:
    """Write the range of some values."""
    low, high = min(values), max(values)
    return f"{low:.3f}" if low == high else f"{low:.3f} … {high:.3f}"


if __name__ == "__main__":
    main()
