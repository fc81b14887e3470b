"""What the forgetting probe costs, and what the dial gives back, on SmolLM2 with real rows; writes docs/forgetting.md.

    python benchmarks/forgetting.py DATA… [--runs runs/bench-forgetting] [--page docs/forgetting.md]

Each data file is tuned on by LoRA at 5 times its default rate, where the dial must keep 90% of the gain and halve what
was forgotten; the first one at 30 times, too, which must be called severe, and at the dial's choice must not. The
dial chooses on the validation rows; what it kept is then read off the test rows. Before that the base model is held
against itself, which must give exactly nothing, and the probe is timed. Runs and readings are kept: what was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from kamerton.core.files import cache_folder, write_json
from kamerton.core.outcomes import Attempt
from kamerton.forgetting.decide import conclude_forgetting
from kamerton.pipeline.dial import Dial
from kamerton.pipeline.forgetting import left_out, make_meter
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.remedies import STRENGTH, choose_attempt, luck, turn_dial
from kamerton.pipeline.training import score_validation, tune_model
from kamerton.runs.run import Run
from kamerton.session.engines import saved_engine, untuned_engine
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, open_setup

ROOT = Path(__file__).parent.parent
RATE = 5e-4
"""What LoRA takes for models of this size."""
SEVERE, HOT = 30, 5
MOST_SECONDS = 60
KEPT, FALLEN = 0.9, 0.5
ROWS = 300
"""Of each data file: so many that a fifth of them tells one strength from the next, and as many the chosen one."""
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Check:
    """One claim, and whether it held."""

    claim: str
    held: bool
    figure: str


@dataclass(frozen=True)
class Cost:
    """What asking the probe took, and what it said of the base model beside itself."""

    first: float
    """Seconds for base and tuned model, when nothing of the base is known yet."""
    later: float
    """Seconds when the base was read in an earlier run."""
    nothing: bool
    """Whether every change is exactly 0, and so are the ends of its interval."""


@dataclass(frozen=True)
class Gains:
    """Scores above the beginning's on test rows, which neither training nor the dial has seen."""

    whole: float
    chosen: float


@dataclass(frozen=True)
class Turned:
    """A run at a multiple of the rate, at every strength of the dial."""

    data: str
    factor: int
    attempts: Sequence[Attempt]
    gains: Gains

    @property
    def whole(self) -> Attempt:
        return self.attempts[0]

    @property
    def chosen(self) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.chosen)

    @property
    def fell(self) -> float:
        """The share of what was forgotten that the dial gives back."""
        return 1 - self.chosen.harm / self.whole.harm


def main() -> None:
    """Run what is not there yet, write the page, and exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench-forgetting")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "forgetting.md")
    asked = parser.parse_args()
    cost = Cost(**kept(asked.runs / "cost.json", lambda: asdict(price(begun(asked.data[0], asked.runs, 1)))))
    first = asked.data[0]
    turned: list[Turned] = []
    checks = [*claims_of_cost(cost)]
    for data, factor in (*((one, HOT) for one in asked.data), (first, SEVERE)):
        turned.append(dialled(data, asked.runs, factor))
        checks += claims(turned[-1])
        asked.page.write_text("\n".join(page(cost, turned, checks)), encoding="utf-8")  # a stop leaves what is known
    for check in checks:
        print(f"{'ok  ' if check.held else 'FAIL'} {check.claim}: {check.figure}")
    sys.exit(not all(check.held for check in checks))


def kept(path: Path, make: Callable[[], Kept]) -> Kept:
    """Read what an earlier sitting found, or find it and keep it."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_bytes())


def begun(data: Path, runs: Path, factor: int) -> Run:
    """Freeze a split of some rows under a recipe with a multiple of the rate, or open it."""
    folder = runs / f"{data.stem}-{factor}"
    if (folder / "recipe.yaml").exists() and Run(folder).has_split:
        return Run(folder)
    settings = {
        "model.name": "smollm2",
        "method.name": "lora",
        "data.max_rows": ROWS,
        "split.validation": 0.2,
        "split.test": 0.2,
        "train.epochs": 2,
        "train.learning_rate": factor * RATE,
    }
    run = new_run(data, folder, settings)
    for stage in freeze(run, Clock(run)):
        print(f"     {stage.name}: {stage.message}", flush=True)
    return run


def price(run: Run) -> Cost:
    """Hold the base model against itself, and take the time of asking it: first with nothing known of the base."""
    setup = open_setup(run)
    engine = untuned_engine(setup)
    seconds = []
    with unread():
        for _ in range(2):
            began = time.perf_counter()
            measured = make_meter(setup, engine, "quick").measure(engine)
            found = conclude_forgetting(measured, left_out(setup))
            seconds.append(time.perf_counter() - began)
            print(f"     the probe: {seconds[-1]:.1f} s", flush=True)
    return Cost(*seconds, all(one.change == one.low == one.high == 0 for one in found.measured))


@contextmanager
def unread() -> Iterator[None]:
    """Give a cache folder of the same models in which no readings are kept."""
    own = cache_folder()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(own / "models")
        os.environ["KAMERTON_CACHE"] = folder
        yield
    os.environ["KAMERTON_CACHE"] = str(own)


def dialled(data: Path, runs: Path, factor: int) -> Turned:
    """Train, turn the dial, and read the chosen strength and the whole off the test rows; or read what was found."""
    run = begun(data, runs, factor)
    setup = open_setup(run)
    if not run.model.exists():
        for _ in tune_model(run, setup, Clock(run)):
            pass
        print(f"     {data.stem} at {factor}x: trained", flush=True)
    if not run.read_attempts():
        run.write_attempts(turn_dial(setup, saved_engine(run, setup)))
    chosen = choose_attempt(run.read_attempts(), True, luck(setup))
    attempts = [replace(attempt, chosen=attempt.changes == chosen.changes) for attempt in run.read_attempts()]
    for attempt in attempts:
        print(f"     {data.stem} at {factor}x: {figures(attempt)}", flush=True)
    gains = Gains(**kept(run.path / "test.json", lambda: asdict(on_test(run, setup, strength_of(chosen)))))
    return Turned(data.stem, factor, attempts, gains)


def on_test(run: Run, setup: Setup, strength: float) -> Gains:
    """Score the test rows where training began, at a strength, and at the end."""
    engine = saved_engine(run, setup)
    dial = Dial(setup, engine.model)
    tested = replace(setup, split=replace(setup.split, validation=setup.split.test))
    scores = []
    for value in (0.0, 1.0, strength):
        dial.turn(value)
        scores.append(score_validation(tested, engine))
    begin, whole, chosen = scores
    return Gains(whole - begin, chosen - begin)


def claims_of_cost(cost: Cost) -> Iterator[Check]:
    """Hold the probe's cost, and the base model beside itself, against what is promised."""
    figure = f"{cost.first:.1f} s the first time, {cost.later:.1f} s after that"
    yield Check("the base against itself has forgotten exactly nothing", cost.nothing, "0" if cost.nothing else "not 0")
    yield Check(f"the probe costs at most {MOST_SECONDS} s", cost.first <= MOST_SECONDS, figure)


def claims(one: Turned) -> Iterator[Check]:
    """Hold a dialled run against what is promised."""
    name = f"{one.data}, {one.factor} times the rate"
    if one.factor == SEVERE:
        yield Check(f"{name}: called severe", one.whole.decision == "severe", figures(one.whole))
        yield Check(f"{name}: at the chosen strength it is not", one.chosen.decision != "severe", figures(one.chosen))
        return
    gain, tested = one.chosen.gain / one.whole.gain, one.gains.chosen / one.gains.whole
    yield Check(f"{name}: the dial keeps {KEPT:.0%} of the gain on the validation rows", gain >= KEPT, f"{gain:.0%}")
    yield Check(f"{name}: and on the test rows", tested >= KEPT, f"{tested:.0%}")
    yield Check(f"{name}: forgetting falls by {FALLEN:.0%}", one.fell >= FALLEN, f"by {one.fell:.0%}")


def strength_of(attempt: Attempt) -> float:
    return float(str(attempt.changes.get(STRENGTH, 1)))


def figures(attempt: Attempt) -> str:
    """Write an attempt's two axes."""
    gain = f"strength {strength_of(attempt):g}: gain {attempt.gain:+.3f}"
    return f"{gain}, nats {attempt.harm:+.3f}, {attempt.decision}{', chosen' if attempt.chosen else ''}"


INTRODUCTION = """\
# Forgetting, and how much of it the dial recovers

Written by `make bench-forgetting`. Every run asks the base model and the tuned one a probe that no task is about:
plain texts, questions, requests for answers of a form. The cross-entropy of the texts decides, in nats per token:
"mild" if the whole 95% interval of its rise exceeds 0.05, "severe" if it exceeds 0.3.

`kamerton dial RUN` interpolates the weights of a tuned model towards those before training (WiSE-FT, Wortsman et al.
2022), measures each strength on the validation rows and on the probe, and chooses by a rule: of the strengths that
keep 90% of the best gain, the one that forgets least. Where nothing gains, or a gain that may be chance on so
few rows would cost severe forgetting, it is the one that forgets least of all. `kamerton tune --remedy dial` does
the same during a run, and `kamerton dial RUN --out NEW` makes a run of the chosen strength.

Tasks of the Language Model Evaluation Harness can stand beside the probe (`pip install 'kamerton[benchmarks]'`):
`kamerton tune … --benchmarks arc_easy,mine.yaml`, or `kamerton evaluate RUN --benchmarks …` for a run that is there.
Base and tuned model answer the same rows, the first 200 of each task (`--set benchmarks.rows=`), and are compared in
pairs; a share of right answers counts in the decision: mild beyond 5 points lost, severe beyond 15. A task file has
the harness's own form; with `dataset_path: json` and `dataset_kwargs: {data_files: {test: rows.jsonl}}` it needs no
network. It may contain code: use only files that you trust.
"""


def page(cost: Cost, turned: Sequence[Turned], checks: Sequence[Check]) -> Iterator[str]:
    """Write the page, line by line."""
    yield INTRODUCTION
    yield "## Targets\n"
    yield "| claim | figure | |"
    yield "|---|---|---|"
    for check in checks:
        yield f"| {check.claim} | {check.figure} | {'held' if check.held else '**not held**'} |"
    yield "\n## What the probe costs\n"
    yield f"SmolLM2 (135M), quick probe, both models: {cost.first:.0f} s where nothing of the base is known yet, "
    yield f"{cost.later:.0f} s after that: the base's own results are cached in the user's cache folder.\n"
    for one in turned:
        yield from section(one)


def section(one: Turned) -> Iterator[str]:
    """Write one run's Pareto points."""
    yield f"## {one.data}, LoRA at {one.factor} times its rate\n"
    yield "| strength | gain | of the best | nats per token | 95% interval | forgetting | |"
    yield "|---:|---:|---:|---:|---:|---|---|"
    best = max(attempt.gain for attempt in one.attempts)
    for attempt in sorted(one.attempts, key=strength_of, reverse=True):
        change = attempt.forgotten
        interval = f"{change.low:+.3f} to {change.high:+.3f}" if change else ""
        share = f"{attempt.gain / best:.0%}" if best > 0 else "–"
        mark = "chosen" if attempt.chosen else ""
        yield (
            f"| {strength_of(attempt):g} | {attempt.gain:+.3f} | {share} | {attempt.harm:+.3f} | {interval} "
            f"| {attempt.decision} | {mark} |"
        )
    gains = f"{one.gains.whole:+.3f} for the whole training, {one.gains.chosen:+.3f} for the chosen strength"
    yield f"\nOn the test rows, which the dial has not seen, the gain is {gains}.\n"


if __name__ == "__main__":
    main()
