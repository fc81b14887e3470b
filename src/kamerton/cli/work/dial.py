"""What `kamerton dial` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from kamerton.cli.output import print_json
from kamerton.cli.telling import tell
from kamerton.engines import saved_engine
from kamerton.outcomes import Attempt
from kamerton.prepare import open_setup
from kamerton.remedy import STRENGTH, dialled_run, turn_dial
from kamerton.run import Run
from kamerton.tune import score_validation, story


def run(path: Path, out: Path | None, strength: float | None, json: bool) -> None:
    """Measure the strengths, say which one is chosen, and make a run of it if one is wanted."""
    tuned = Run(path)
    setup = open_setup(tuned)
    engine = saved_engine(tuned, setup)
    attempts = turn_dial(tuned, setup, engine, score_validation, strength)
    if out is not None:
        again = dialled_run(tuned, setup, engine, attempts, out)
        tell(again, story(again), json)
    elif json:
        print_json([asdict(attempt) for attempt in attempts])
    else:
        for attempt in attempts:
            print(line(attempt))


def line(attempt: Attempt) -> str:
    """Write one strength: what it gains, and what it forgets."""
    forgot = "nothing measured"
    if change := attempt.forgotten:
        forgot = f"{change.name} {change.change:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    strength = float(str(attempt.changes.get(STRENGTH, 1)))
    mark = "   ← chosen" if attempt.chosen else ""
    return f"strength {strength:<5g} gain {attempt.gain:+.4f}   {forgot}: {attempt.decision}{mark}"
