"""The geometry of the report's charts: positions in percent; the templates draw them.

Positions in percent, with text in pixels, keep letters the same size on a phone and on paper.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Attempt, Measure
from kamerton.core.records import Event, Started, Stepped, Stopped, Validated
from kamerton.report.outcome import Outcome, named

MOST_POINTS = 300
"""More points than a chart has pixels only make the file large."""
SMOOTHING = 1 / 20
"""The smoothed loss looks back over a twentieth of the training."""
MOST_TICKS = 7
SAMPLED_STEPS = 12
LINES: tuple[Literal["smooth", "validation", "metric"], ...] = ("smooth", "validation", "metric")
"""The lines of runs that share charts: loss, validation loss, score."""
STRENGTH = "remedy.strength"


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

    def span(self, measure: Measure) -> Measure:
        """Return the positions of a value and of its interval's ends, at the value where they are not finite."""
        return Measure(*map(self.at, _ends(measure)))


@dataclass(frozen=True)
class LogScale(Scale):
    """A logarithmic axis for numbers above 0."""

    def at(self, value: float) -> float:
        """Return the position of a value, 0 to 100."""
        return round(100 * math.log(value / self.low) / math.log(self.high / self.low), 3)


SHARES = Scale(0, 1, tuple(Tick(25.0 * i, f"{0.25 * i:g}") for i in range(5)))


def _ends(measure: Measure) -> tuple[float, float, float]:
    """Return the value and the interval's ends, which are the value where they are not finite."""
    low, high = (end if math.isfinite(end) else measure.value for end in (measure.low, measure.high))
    return measure.value, low, high


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
    title: str = ""
    """The name of its run, where several runs share a chart."""
    series: int = 0
    """The position of that run, from 1."""


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
class Updates:
    """Columns of the updates of a training."""

    steps: Sequence[float]
    losses: Sequence[float]
    rates: Sequence[float]

    @classmethod
    def of(cls, events: Sequence[Stepped]) -> "Updates":
        """Take the columns of events."""
        return cls([one.step for one in events], [one.loss for one in events], [one.learning_rate for one in events])


@dataclass(frozen=True)
class View:
    """Which part of a training is drawn, and how."""

    smoothing: float = SMOOTHING
    """The share of the training that a smoothed loss averages; 0 does not smooth."""
    part: float = 1.0
    """The share of the updates that is drawn: the last ones."""
    values: Literal["linear", "log"] = "linear"
    """The axis of the loss."""


@dataclass(frozen=True)
class Curves:
    """The charts of a training."""

    loss: Chart
    metric: Chart | None
    rate: Chart


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
class ParetoMark:
    """One attempt in the chart, in percent of its width and height."""

    attempt: Attempt
    name: Wording
    x: float
    y: float


@dataclass(frozen=True)
class Pareto:
    """All attempts: gain on the validation rows across, forgetting upwards; the dial's own as a line."""

    marks: tuple[ParetoMark, ...]
    line: str
    gains: Scale
    harms: Scale
    measure: Wording


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


def log_scale(low: float, high: float) -> LogScale:
    """Build a logarithmic axis that covers low to high, with ticks at 1, 2 and 5 times powers of ten.

    >>> [tick.label for tick in log_scale(0.03, 1.4).ticks]
    ['0.02', '0.05', '0.1', '0.2', '0.5', '1', '2']
    """
    powers = [10.0**power for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)]
    marks = [digit * power for power in powers for digit in (1, 2, 5)]
    first, last = max(one for one in marks if one <= low), min(one for one in marks if one > high)
    inside = [one for one in marks if first <= one <= last]
    shown = inside if len(inside) <= MOST_TICKS else [one for one in powers if first <= one <= last]
    bare = LogScale(first, last, ())
    ticks = (Tick(bare.at(one), _label(one, 10.0 ** math.floor(math.log10(one) + 1e-9))) for one in shown)
    return LogScale(first, last, tuple(ticks))


def forest(outcome: Outcome) -> Scale:
    """Build the axis of the contenders' deciding metric with its intervals."""
    ends = [_ends(outcome.primary(contender)) for contender in outcome.measured]
    return scale(min((low for _, low, _ in ends), default=0), max((high for *_, high in ends), default=1))


def learning(events: Sequence[Event], metric: str) -> Learning | None:
    """Lay out the course of the training; None if no step was made."""
    steps = [event for event in events if isinstance(event, Stepped)]
    if not steps:
        return None
    validations = [event for event in events if isinstance(event, Validated)]
    stopped = next((event for event in reversed(events) if isinstance(event, Stopped)), None)
    best = next((event.step for event in reversed(validations) if event.best), None)
    drawn = curves(Updates.of(steps), validations, metric, max(event.step for event in events))
    layouts = [event.layout for event in events if isinstance(event, Started)]
    sampled = np.linspace(0, len(steps) - 1, min(len(steps), SAMPLED_STEPS)).round().astype(int)
    return Learning(
        drawn.loss,
        drawn.metric,
        drawn.rate,
        stopped.best_step if stopped else best,
        stopped,
        layouts[-1] if layouts else "",
        tuple(validations),
        tuple(steps[i] for i in sampled),
    )


def curves(updates: Updates, validations: Sequence[Validated], metric: str, last: int, view: View = View()) -> Curves:
    """Draw a training up to its step `last`."""
    first = round(last * (1 - view.part))
    axis = _steps_axis(first, last)
    scores = [Point(v.step, v.metrics[metric]) for v in validations if metric in v.metrics]
    seen = [Point(v.step, v.loss) for v in validations]
    rates = _points(updates.steps, updates.rates)
    lines = {
        kind: _within(points, first) for kind, points in (("metric", scores), ("validation", seen), ("rate", rates))
    }
    metrics, rate = Line("metric", lines["metric"]), Line("rate", _thinned(lines["rate"]))
    return Curves(
        _loss_chart(updates, lines["validation"], axis, first, view),
        _chart((metrics,), axis) if metrics.points else None,
        _chart((rate,), axis),
    )


def _points(steps: Sequence[float], values: Sequence[float]) -> list[Point]:
    return [Point(int(step), value) for step, value in zip(steps, values, strict=True)]


def _within(points: Sequence[Point], first: int) -> tuple[Point, ...]:
    return tuple(point for point in points if point.step >= first and math.isfinite(point.value))


@dataclass(frozen=True)
class Overlay:
    """The courses of several runs on common axes; None where none of them has such a line."""

    loss: Chart | None
    validation: Chart | None
    metric: Chart | None


def overlay(courses: Mapping[str, Sequence[Event]], metric: str) -> Overlay:
    """Lay the courses of runs over each other.

    Args:
        courses: the events of each run, by its name.
        metric: whose scores on the validation rows are drawn.
    """
    last = max((event.step for events in courses.values() for event in events), default=0)
    if not last:
        return Overlay(None, None, None)
    axis, found = _steps_axis(0, last), dict[str, list[Line]](loss=[], validation=[], metric=[])
    for series, (name, events) in enumerate(courses.items(), 1):
        steps = [event for event in events if isinstance(event, Stepped) and math.isfinite(event.loss)]
        means = smoothed([event.loss for event in steps], len(steps) * SMOOTHING)
        validations = [event for event in events if isinstance(event, Validated)]
        points = {
            "loss": _thinned([Point(event.step, mean) for event, mean in zip(steps, means, strict=True)]),
            "validation": tuple(Point(one.step, one.loss) for one in validations if math.isfinite(one.loss)),
            "metric": tuple(Point(one.step, one.metrics[metric]) for one in validations if metric in one.metrics),
        }
        for kind, line in zip(LINES, points, strict=True):
            if points[line]:
                found[line].append(Line(kind, points[line], name, series))
    return Overlay(*(_chart(tuple(lines), axis) if lines else None for lines in found.values()))


def smoothed(values: Sequence[float], window: float) -> list[float]:
    """Average exponentially over about `window` values, unbiased at the start (Kingma and Ba 2015, section 3)."""
    keep, mean, weight, results = 1 - 1 / max(1.0, window), 0.0, 0.0, []
    for value in values:
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        results.append(mean / weight)
    return results


def _steps_axis(first: int, last: int) -> Scale:
    """Build an axis that begins and ends with these steps, not with round ticks."""
    axis, whole = scale(first, last), Scale(first, max(last, first + 1), ())
    values = (axis.low + tick.at / 100 * (axis.high - axis.low) for tick in axis.ticks)
    ticks = zip(values, axis.ticks, strict=True)
    kept = tuple(Tick(whole.at(value), tick.label) for value, tick in ticks if first <= value <= last)
    return Scale(whole.low, whole.high, kept)


def _loss_chart(updates: Updates, validation: tuple[Point, ...], axis: Scale, first: int, view: View) -> Chart:
    raw = [point for point in _points(updates.steps, updates.losses) if math.isfinite(point.value)]
    means = smoothed([point.value for point in raw], len(raw) * view.smoothing) if view.smoothing else []
    smooth = [Point(point.step, mean) for point, mean in zip(raw, means, strict=False)]
    lines = [Line("raw", _within(raw, first)), Line("smooth", _within(smooth, first)), Line("validation", validation)]
    if view.values == "log":
        lines = [Line(one.kind, tuple(point for point in one.points if point.value > 0)) for one in lines]
    drawn = [line if line.kind == "validation" else Line(line.kind, _thinned(line.points)) for line in lines]
    return _chart(tuple(line for line in drawn if line.points), axis, view)


def _chart(lines: tuple[Line, ...], axis: Scale, view: View = View()) -> Chart:
    scaled = [line for line in lines if line.kind != "raw"] if view.smoothing else lines
    values = [point.value for line in scaled for point in line.points]
    if view.values == "log" and values:
        return Chart(lines, axis, log_scale(min(values), max(values)))
    return Chart(lines, axis, scale(min(values, default=0), max(values, default=1), 4))


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Average neighbours until few enough points are left."""
    if len(points) <= MOST_POINTS:
        return tuple(points)
    bounds = [round(i * len(points) / MOST_POINTS) for i in range(MOST_POINTS + 1)]
    groups = [points[start:end] for start, end in pairwise(bounds)]
    return tuple(Point(group[-1].step, sum(p.value for p in group) / len(group)) for group in groups)


def _label(value: float, step: float) -> str:
    if step < 1e-3:
        return "0" if abs(value) < step / 2 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    digits = next(digits for digits in range(5) if math.isclose(step, round(step, digits), rel_tol=1e-6))
    return f"{value:,.{digits}f}".replace("-", "−")


def pareto(attempts: Sequence[Attempt]) -> Pareto | None:
    """Lay out the attempts; None if none was measured on both axes."""
    measured = [attempt for attempt in attempts if attempt.forgotten]
    if not measured or not measured[0].forgotten:
        return None
    gains = scale(min(0.0, *(a.gain for a in measured)), max(0.0, *(a.gain for a in measured)))
    harms = scale(min(0.0, *(a.harm for a in measured)), max(0.0, *(a.harm for a in measured)), 4)
    marks = tuple(ParetoMark(a, _short_name(a), gains.at(a.gain), 100 - harms.at(a.harm)) for a in measured)
    dialled = [mark for mark in marks if mark.attempt.changes.keys() <= {STRENGTH}]
    dialled.sort(key=lambda mark: -float(str(mark.attempt.changes.get(STRENGTH, 1))))
    return Pareto(marks, " ".join(f"{m.x:g},{m.y:g}" for m in dialled), gains, harms, named(measured[0].forgotten.name))


def _short_name(attempt: Attempt) -> Wording:
    """Return the strength, the remedy, or that it is the training itself."""
    if attempt.changes.keys() == {STRENGTH}:
        return str(attempt.changes[STRENGTH])
    return attempt.remedy or msg("as trained")
