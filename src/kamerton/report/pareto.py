"""The geometry of remedies: gain on the validation rows across, forgetting upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Attempt
from kamerton.report.charts import Scale, scale
from kamerton.report.outcome import named

STRENGTH = "remedy.strength"


@dataclass(frozen=True)
class ParetoMark:
    """One attempt in the chart, in percent of its width and height."""

    attempt: Attempt
    name: Wording
    x: float
    y: float


@dataclass(frozen=True)
class Pareto:
    """All attempts, and the dial's own as a line from the whole training downwards."""

    marks: tuple[ParetoMark, ...]
    line: str
    gains: Scale
    harms: Scale
    measure: Wording


def pareto(attempts: Sequence[Attempt]) -> Pareto | None:
    """Lay out the attempts; None if none was measured on both axes."""
    measured = [attempt for attempt in attempts if attempt.forgotten]
    if not measured or not measured[0].forgotten:
        return None
    gains = scale(min(0.0, *(a.gain for a in measured)), max(0.0, *(a.gain for a in measured)))
    harms = scale(min(0.0, *(a.harm for a in measured)), max(0.0, *(a.harm for a in measured)), 4)
    marks = tuple(ParetoMark(a, name_of(a), gains.at(a.gain), 100 - harms.at(a.harm)) for a in measured)
    dialled = sorted((m for m in marks if m.attempt.changes.keys() <= {STRENGTH}), key=lambda mark: -_strength(mark))
    return Pareto(marks, " ".join(f"{m.x:g},{m.y:g}" for m in dialled), gains, harms, named(measured[0].forgotten.name))


def name_of(attempt: Attempt) -> Wording:
    """Return a short name: the strength, the remedy, or the training itself."""
    if attempt.changes.keys() == {STRENGTH}:
        return str(attempt.changes[STRENGTH])
    return attempt.remedy or msg("as trained")


def _strength(mark: ParetoMark) -> float:
    return float(str(mark.attempt.changes.get(STRENGTH, 1)))
