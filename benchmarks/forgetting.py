"""What the forgetting probe costs, and what the dial gives back, on SmolLM2 with real rows.

    python benchmarks/forgetting.py DATA…

Each data file is tuned on twice as hot as it should be: by LoRA at 30 times its default rate, which must be called
severe, and at 5 times, where the dial must keep 90% of the gain on the validation rows and halve what was forgotten.
Before that the base model is held against itself, which must give exactly nothing, and the probe is timed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kamerton.begin import new_run
from kamerton.engines import saved_engine, untuned_engine
from kamerton.forget import make_meter, measure_forgetting
from kamerton.outcomes import Attempt
from kamerton.prepare import Clock, freeze, open_setup
from kamerton.remedy import STRENGTH, turn_dial
from kamerton.run import Run
from kamerton.tune import score_validation, tune_model

RATE = 5e-4
"""What LoRA takes for models of this size."""
SEVERE, HOT = 30, 5
MOST_SECONDS = 60
ROWS = 240


@dataclass(frozen=True)
class Check:
    """One claim, and whether it held."""

    claim: str
    held: bool
    figure: str


def main() -> None:
    """Run all checks on the data files named; exit with 1 if one fails."""
    files = [Path(name) for name in sys.argv[1:]]
    checks: list[Check] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(files):
            if not number:
                checks += [*itself(tuned(data, Path(folder) / "itself", 1, untrained=True))]
            for factor in (SEVERE, HOT):
                run = tuned(data, Path(folder) / f"{data.stem}-{factor}", factor)
                checks += dialled(run, data.stem, factor)
    for check in checks:
        print(f"{'ok  ' if check.held else 'FAIL'} {check.claim}: {check.figure}")
    sys.exit(not all(check.held for check in checks))


def tuned(data: Path, out: Path, factor: float, *, untrained: bool = False) -> Run:
    """Freeze a split of some rows, and train on it at a multiple of the rate; no contender is asked."""
    settings = {
        "model.name": "smollm2",
        "method.name": "lora",
        "data.max_rows": ROWS,
        "train.epochs": 2,
        "train.learning_rate": factor * RATE,
    }
    run = new_run(data, out, settings)
    clock = Clock(run)
    for stage in freeze(run, clock):
        print(f"     {stage.name}: {stage.message}", flush=True)
    for _ in () if untrained else tune_model(run, open_setup(run), clock):
        pass
    return run


def itself(run: Run) -> Sequence[Check]:
    """Hold the base model against itself, and take the time of asking it."""
    setup = open_setup(run)
    engine = untuned_engine(setup)
    make_meter(setup, engine, "quick")  # what it reads of the base is kept for good
    began = time.perf_counter()
    found = measure_forgetting(setup, engine, make_meter(setup, engine, "quick"))
    seconds = time.perf_counter() - began
    nothing = all(one.change == one.low == one.high == 0 for one in found.measured)
    return (
        Check("the base against itself has forgotten exactly nothing", nothing, found.reason),
        Check(f"the probe costs at most {MOST_SECONDS} s", seconds <= MOST_SECONDS, f"{seconds:.1f} s"),
    )


def dialled(run: Run, name: str, factor: float) -> list[Check]:
    """Turn the dial, and hold the chosen strength against the whole."""
    setup = open_setup(run)
    whole, *others = turn_dial(run, setup, saved_engine(run, setup), score_validation)
    chosen = next(attempt for attempt in (whole, *others) if attempt.chosen)
    for attempt in (whole, *others):
        print(f"     {name} at {factor}x: {figures(attempt)}", flush=True)
    if factor == SEVERE:
        return [
            Check(f"{name}, {factor}x the rate: called severe", whole.decision == "severe", figures(whole)),
            Check(f"{name}, {factor}x the rate: dialled, not", chosen.decision != "severe", figures(chosen)),
        ]
    kept, fell = chosen.gain / whole.gain, 1 - chosen.harm / whole.harm
    return [
        Check(f"{name}, {factor}x the rate: the dial keeps 90% of the gain", kept >= 0.9, f"{kept:.0%}"),
        Check(f"{name}, {factor}x the rate: forgetting falls by half", fell >= 0.5, f"by {fell:.0%}"),
    ]


def figures(attempt: Attempt) -> str:
    """Write an attempt's two axes."""
    return f"strength {attempt.changes.get(STRENGTH, 1)}: gain {attempt.gain:+.3f}, nats {attempt.harm:+.3f}"


if __name__ == "__main__":
    main()
