"""The page of a learning curve: one HTML file, like the report of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.figures import number, percent
from kamerton.core.files import write_text
from kamerton.core.outcomes import Curve, Growth, Measure
from kamerton.i18n.language import Language
from kamerton.report.charts import Scale, Tick, scale
from kamerton.report.html import environment

HARDLY = 0.005
"""A gain below half a point is hardly one."""


@dataclass(frozen=True)
class Dot:
    """A measured size: its position, and its score with the interval's positions."""

    rows: int
    score: Measure
    across: float
    at: Measure


@dataclass(frozen=True)
class GrowthChart:
    """Scores over the training rows, the rows on a logarithmic axis; positions in per cent."""

    rows: Scale
    values: Scale
    dots: tuple[Dot, ...]
    band: str
    """The corners of the band's polygon in a square of 100 by 100, y downwards."""
    line: str
    now: float


def growth_chart(growth: Growth) -> GrowthChart:
    """Lay out measured scores and the estimated band."""
    scores = [reach.score for reach in (*growth.measured, *growth.line)]
    values = scale(min(score.low for score in scores), max(score.high for score in scores))
    first, last = math.log(growth.line[0].rows), math.log(growth.line[-1].rows)
    bare = Scale(first, last, ())
    marked = sorted({*(reach.rows for reach in growth.measured[:-1]), growth.now.rows, growth.target.rows})
    rows = Scale(first, last, tuple(Tick(bare.at(math.log(n)), f"{n:,}") for n in marked))

    def corner(n: int, value: float) -> str:
        return f"{rows.at(math.log(n)):g},{100 - values.at(value):g}"

    upper = [corner(reach.rows, reach.score.high) for reach in growth.line]
    lower = [corner(reach.rows, reach.score.low) for reach in reversed(growth.line)]
    dots = tuple(
        Dot(
            reach.rows,
            reach.score,
            rows.at(math.log(reach.rows)),
            Measure(*(values.at(end) for end in (reach.score.value, reach.score.low, reach.score.high))),
        )
        for reach in growth.measured
    )
    line = " ".join(corner(reach.rows, reach.score.value) for reach in growth.line)
    return GrowthChart(rows, values, dots, " ".join([*upper, *lower]), line, rows.at(math.log(growth.now.rows)))


def gain_sentence(growth: Growth) -> str:
    """Say in one sentence what the target's rows would give: `twice the rows would give +1.2 to +3.0 points`."""
    times = growth.target.rows / growth.now.rows
    how = "twice the rows" if times == 2 else f"{times:.3g} times the rows"
    return f"{how} would give {points(growth.gain.low)} to {points(growth.gain.high)} points"


def advice(growth: Growth) -> str:
    """Say what follows for whoever thinks of collecting more rows."""
    if growth.gain.high < HARDLY:
        return "More rows of this kind will hardly help; cleaner labels or a larger base model may."
    if growth.gain.low > HARDLY:
        return "More rows would help."
    return "More rows may help or hardly; collect some, and measure again."


def points(share: float) -> str:
    """Write a difference of shares in signed points.

    >>> points(0.0123), points(0.0)
    ('+1.2', '0.0')
    """
    return f"{100 * share:+.1f}".replace("-", "−") if round(100 * share, 1) else "0.0"


def law_sentence(growth: Growth) -> str:
    """Write the power law that fits best."""
    law = growth.law
    return f"1 − {growth.metric} ≈ {number(law.a)} · n^−{number(law.b)} + {number(law.c)}"


def write_curve(curve: Curve, path: Path, language: Language = "en") -> Path:
    """Write the page of a curve and return its path."""
    growth = curve.growth
    html = (
        environment(language)
        .get_template("curve.html.j2")
        .render(
            curve=curve,
            growth=growth,
            chart=growth_chart(growth),
            confidence=percent(growth.confidence),
            gain=gain_sentence(growth),
            advice=advice(growth),
            law=law_sentence(growth),
        )
    )
    write_text(path, html.strip() + "\n")
    return path
