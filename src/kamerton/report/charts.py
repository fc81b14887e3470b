"""The geometry of the report's charts: positions in percent; the templates draw them.

Positions in percent, with text in pixels, keep letters the same size on a phone and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kamerton.core.messages import Wording
from kamerton.core.outcomes import Measure
from kamerton.core.records import Event, Started, Stepped, Stopped, Validated
from kamerton.report.outcome import Outcome, title_of

MOST_POINTS = 300
"""More points than a chart has pixels only make the file large."""
SMOOTHING = 20
"""The smoothed loss looks back over a twentieth of the training."""
SAMPLED_STEPS = 12


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """A linear axis over rounded numbers."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Return the position of a value, 0 to 100."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)


@dataclass(frozen=True)
class Point:
    """A value at a step."""

    step: int
    value: float


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    kind: Literal["raw", "smooth", "validation", "metric", "rate"]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """Lines over the training steps on common axes."""

    lines: tuple[Line, ...]
    steps: Scale
    values: Scale

    def path(self, line: Line) -> str:
        """Write a line as an SVG polyline's points in a square of 100 by 100, y downwards."""
        return " ".join(f"{self.steps.at(p.step):g},{100 - self.values.at(p.value):g}" for p in line.points)


@dataclass(frozen=True)
class Learning:
    """The course of the training, as far as events record it."""

    loss: Chart
    metric: Chart | None
    rate: Chart
    best_step: int | None
    stopped: Stopped | None
    layout: Wording
    validations: tuple[Validated, ...]
    steps: tuple[Stepped, ...]
    """A few steps, evenly spread, for the table."""


@dataclass(frozen=True)
class Whisker:
    """One contender in the forest plot."""

    name: Wording
    kind: str
    measure: Measure
    at: Measure
    """The same three numbers as positions."""


@dataclass(frozen=True)
class Forest:
    """Dot and whisker of each contender, best first."""

    whiskers: tuple[Whisker, ...]
    scale: Scale


def scale(low: float, high: float, most: int = 5) -> Scale:
    """Build an axis that covers low to high with about `most` round ticks.

    Steps are 1, 2, 2.5 or 5 times a power of ten (Heckbert, "Nice numbers for graph labels", Graphics Gems, 1990).
    """
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    bare = Scale(first * step, last * step, ())
    ticks = tuple(Tick(bare.at(i * step), _label(i * step, step)) for i in range(first, last + 1))
    return Scale(bare.low, bare.high, ticks)


def forest(outcome: Outcome) -> Forest:
    """Lay out the contenders' deciding metric with its intervals, best first."""
    measured = [c for c in outcome.ranking if math.isfinite(outcome.primary(c).value)]
    measures = [_finite(outcome.primary(contender)) for contender in measured]
    axis = scale(min((m.low for m in measures), default=0), max((m.high for m in measures), default=1))
    whiskers = tuple(
        Whisker(title_of(c), c.kind, outcome.primary(c), Measure(axis.at(m.value), axis.at(m.low), axis.at(m.high)))
        for c, m in zip(measured, measures, strict=True)
    )
    return Forest(whiskers, axis)


def learning(events: Sequence[Event], metric: str) -> Learning | None:
    """Lay out the course of the training; None if no step was made."""
    steps = [event for event in events if isinstance(event, Stepped)]
    if not steps:
        return None
    validations = [event for event in events if isinstance(event, Validated)]
    stopped = next((event for event in reversed(events) if isinstance(event, Stopped)), None)
    best = next((event.step for event in reversed(validations) if event.best), None)
    scores = tuple(Point(v.step, v.metrics[metric]) for v in validations if metric in v.metrics)
    axis = _steps_axis(max(event.step for event in events))
    rates = _thinned([Point(event.step, event.learning_rate) for event in steps])
    layouts = [event.layout for event in events if isinstance(event, Started)]
    return Learning(
        _loss_chart(steps, validations, axis),
        _chart((Line("metric", scores),), axis) if scores else None,
        _chart((Line("rate", rates),), axis),
        stopped.best_step if stopped else best,
        stopped,
        layouts[-1] if layouts else "",
        tuple(validations),
        tuple(steps[i] for i in _spread(len(steps), SAMPLED_STEPS)),
    )


def smoothed(values: Sequence[float], window: float) -> list[float]:
    """Average exponentially over about `window` values, unbiased at the start (Kingma and Ba 2015, section 3)."""
    keep, mean, weight, results = 1 - 1 / max(1.0, window), 0.0, 0.0, []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        results.append(mean / weight)
    return results


def _steps_axis(last: int) -> Scale:
    """Build an axis that ends with the last step, not with a round tick."""
    axis, whole = scale(0, last), Scale(0, last, ())
    values = (axis.low + tick.at / 100 * (axis.high - axis.low) for tick in axis.ticks)
    ticks = zip(values, axis.ticks, strict=True)
    return Scale(0, last, tuple(Tick(whole.at(value), tick.label) for value, tick in ticks if value <= last))


def _loss_chart(steps: Sequence[Stepped], validations: Sequence[Validated], axis: Scale) -> Chart:
    finite = [event for event in steps if math.isfinite(event.loss)]
    raw = _thinned([Point(event.step, event.loss) for event in finite])
    means = smoothed([event.loss for event in finite], len(finite) / SMOOTHING)
    smooth = _thinned([Point(event.step, mean) for event, mean in zip(finite, means, strict=True)])
    seen = tuple(Point(event.step, event.loss) for event in validations if math.isfinite(event.loss))
    lines = [Line("raw", raw), Line("smooth", smooth), Line("validation", seen)]
    return _chart(tuple(line for line in lines if line.points), axis)


def _chart(lines: tuple[Line, ...], axis: Scale) -> Chart:
    values = [point.value for line in lines if line.kind != "raw" for point in line.points]
    return Chart(lines, axis, scale(min(values, default=0), max(values, default=1), 4))


def _finite(measure: Measure) -> Measure:
    """Replace the ends that are not finite by the value."""
    low, high = (end if math.isfinite(end) else measure.value for end in (measure.low, measure.high))
    return Measure(measure.value, low, high)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Average neighbours until few enough points are left."""
    bounds = [round(i * len(points) / MOST_POINTS) for i in range(MOST_POINTS + 1)]
    if len(points) <= MOST_POINTS:
        return tuple(points)
    groups = [points[start:end] for start, end in pairwise(bounds)]
    return tuple(Point(group[-1].step, sum(p.value for p in group) / len(group)) for group in groups)


def _spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` positions, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _label(value: float, step: float) -> str:
    if step < 1e-3:
        return "0" if abs(value) < step / 2 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    digits = next(digits for digits in range(5) if math.isclose(step, round(step, digits), rel_tol=1e-6))
    return f"{value:,.{digits}f}".replace("-", "−")
