"""The page of a learning curve: one HTML file, like the report of a run."""

import math
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Curve, Growth
from kamerton.i18n.language import Language
from kamerton.report.charts import Scale, Tick, scale
from kamerton.report.html import write_page

HARDLY = 0.005
"""A gain below half a point is hardly one."""


@dataclass(frozen=True)
class GrowthChart:
    """Scores over the training rows, the rows on a logarithmic axis; positions in percent."""

    rows: Scale
    values: Scale
    band: str
    """The corners of the band's polygon in a square of 100 by 100, y downwards."""
    line: str

    def across(self, rows: int) -> float:
        """Return the position of a number of training rows."""
        return self.rows.at(math.log(rows))


def growth_chart(growth: Growth) -> GrowthChart:
    """Lay out measured scores and the estimated band."""
    scores = [reach.score for reach in (*growth.measured, *growth.line)]
    values = scale(min(score.low for score in scores), max(score.high for score in scores))
    bare = Scale(math.log(growth.line[0].rows), math.log(growth.line[-1].rows), ())
    marked = sorted({*(reach.rows for reach in growth.measured[:-1]), growth.now.rows, growth.target.rows})
    rows = Scale(bare.low, bare.high, tuple(Tick(bare.at(math.log(n)), f"{n:,}") for n in marked))

    def corner(n: int, value: float) -> str:
        return f"{rows.at(math.log(n)):g},{100 - values.at(value):g}"

    upper = [corner(reach.rows, reach.score.high) for reach in growth.line]
    lower = [corner(reach.rows, reach.score.low) for reach in reversed(growth.line)]
    line = [corner(reach.rows, reach.score.value) for reach in growth.line]
    return GrowthChart(rows, values, " ".join([*upper, *lower]), " ".join(line))


def gain_sentence(growth: Growth) -> Message:
    """Return in one sentence what the target's rows would give: `Twice the rows would give +1.2 to +3.0 points`."""
    times = growth.target.rows / growth.now.rows
    low, high = points(growth.gain.low), points(growth.gain.high)
    if times == 2:
        return msg("Twice the rows would give {low} to {high} points", low=low, high=high)
    rule = "{times} times the rows would give {low} to {high} points"
    return msg(rule, times=Figure(times, "tenths"), low=low, high=high)


def advice(growth: Growth) -> Message:
    """Return whether to collect more rows."""
    if growth.gain.high < HARDLY:
        return msg("More rows of this kind will hardly help; cleaner labels or a larger base model may.")
    if growth.gain.low > HARDLY:
        return msg("More rows would help.")
    return msg("More rows may help a little or not at all; collect some, and measure again.")


def points(share: float) -> Figure:
    """Return a difference of shares in signed percentage points.

    >>> points(0.0123).write(), points(0.0).write()
    ('+1.2', '0.0')
    """
    return Figure(100 * share, "signed tenths") if round(100 * share, 1) else Figure(0.0, "tenths")


def write_curve(curve: Curve, path: Path, language: Language = "en") -> Path:
    """Write the page of a curve and return its path."""
    growth, law, rule = curve.growth, curve.growth.law, "1 − {metric} ≈ {a} · n^−{b} + {c}"
    values = {
        "curve": curve,
        "chart": growth_chart(growth),
        "gain": gain_sentence(growth),
        "advice": advice(growth),
        "law": msg(rule, metric=growth.metric, a=Figure(law.a), b=Figure(law.b), c=Figure(law.c)),
    }
    return write_page(path, "curve.html.j2", values, language)
