"""The evidence for a verdict: calibration, training dynamics, speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.outcomes import Calibrated, Contender, Measure
from kamerton.core.records import Example, RowDynamics
from kamerton.report.charts import Scale, Tick, scale
from kamerton.report.outcome import Outcome

MOST_DOTS = 400
"""More dots than this hide each other."""
SHOWN = 4

# ── probabilities ─────────────────────────────────────────────────────────────────────────────

SHARES = Scale(0, 1, tuple(Tick(25.0 * i, f"{0.25 * i:g}") for i in range(5)))


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability: where their whisker stands, in percent."""

    rows: int
    score: float
    right: Measure
    across: float
    at: Measure


def reliability(calibrated: Calibrated) -> tuple[Bin, ...]:
    """Lay out the share of right answers over the probability given."""
    return tuple(
        Bin(
            one.rows,
            one.score,
            one.right,
            SHARES.at(one.score),
            Measure(*(100 - SHARES.at(end) for end in (one.right.value, one.right.low, one.right.high))),
        )
        for one in calibrated.reliability
    )


# ── training dynamics ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Dot:
    """A row in the map: spread of the right answer's probability across, its mean upwards, in percent."""

    x: float
    y: float
    kind: str


@dataclass(frozen=True)
class Seen:
    """A row to show, with its training dynamics."""

    example: Example
    dynamics: RowDynamics


@dataclass(frozen=True)
class Terrain:
    """The map of the training rows (Swayamdipta et al., Dataset Cartography, EMNLP 2020)."""

    dots: tuple[Dot, ...]
    spreads: Scale
    means: Scale
    easy: int
    """Rows answered correctly at every visit."""
    ambiguous: int
    hard: int
    """Rows answered correctly at none."""
    hardest: tuple[Seen, ...]
    variable: tuple[Seen, ...]


def terrain(rows: Sequence[RowDynamics], train: Sequence[Example]) -> Terrain | None:
    """Lay out the map; None where no dynamics were recorded, or no row was visited twice."""
    if max((row.visits for row in rows), default=0) < 2:
        return None
    spreads = scale(0, max(row.variability for row in rows) or 0.1, 4)
    step = max(1, len(rows) // MOST_DOTS)
    dots = tuple(Dot(spreads.at(row.variability), 100 - SHARES.at(row.confidence), _kind(row)) for row in rows[::step])
    kinds = [_kind(row) for row in rows]
    examples = {example.id: example for example in train}
    known = [Seen(examples[row.id], row) for row in rows if row.id in examples]
    hardest = sorted((one for one in known if _kind(one.dynamics) == "hard"), key=lambda one: one.dynamics.confidence)
    others = [one for one in known if _kind(one.dynamics) == "ambiguous"]
    variable = sorted(others, key=lambda one: -one.dynamics.variability)
    return Terrain(
        dots,
        spreads,
        SHARES,
        kinds.count("easy"),
        kinds.count("ambiguous"),
        kinds.count("hard"),
        tuple(hardest[:SHOWN]),
        tuple(variable[:SHOWN]),
    )


def _kind(row: RowDynamics) -> str:
    return "easy" if row.correctness == 1 else "hard" if row.correctness == 0 else "ambiguous"


# ── speed ───────────────────────────────────────────────────────────────────────────


def per_thousand(contender: Contender, outcome: Outcome) -> float:
    """Return a contender's seconds for 1,000 rows."""
    return 1000 * contender.seconds / max(1, outcome.data.test)


def regained(outcome: Outcome) -> int | None:
    """Return after how many rows a faster tuned model has saved the time of the run; None if it is slower."""
    other = next((one for one in outcome.contenders if one.name == outcome.verdict.against), outcome.tuned)
    saved = (per_thousand(other, outcome) - per_thousand(outcome.tuned, outcome)) / 1000
    return round(sum(outcome.seconds.values()) / saved) if saved > 0 else None
