"""The verdict's reason, as one sentence for someone who decides and does not compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.figures import Figure, Style
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.outcomes import Comparison, Contender, Verdict
from kamerton.report.outcome import title_of
from kamerton.statistics.power import rows_needed
from kamerton.statistics.resampling import NOTHING

SIGNED: Mapping[Style, Style] = {
    "tenths": "signed tenths",
    "hundredths": "signed hundredths",
    "thousandths": "signed thousandths",
    "ten-thousandths": "signed ten-thousandths",
}
"""Styles of differences from few decimals to many, and the same with a sign."""


@dataclass(frozen=True)
class Found:
    """What a reason is worded from."""

    verdict: Verdict
    contenders: Sequence[Contender]
    metric: str
    rows: int
    """Test rows."""
    confidence: float

    @property
    def measure(self) -> Metric:
        """The deciding metric."""
        made: Metric = registry.choose("metrics", self.metric)()
        return made

    @property
    def tuned(self) -> Contender:
        """The tuned model."""
        return next(one for one in self.contenders if one.kind == "tuned")

    @property
    def best_other(self) -> Contender:
        """The contender that the verdict is about."""
        return self.named(self.verdict.against)

    @property
    def hardest(self) -> Contender:
        """The contender that is beaten least surely."""
        lows = {other.name: other.comparison.low for other in self.verdict.comparisons}
        return self.named(min(lows, key=lambda name: lows[name], default=self.verdict.against))

    @property
    def scale(self) -> int:
        """Points in a unit of the metric."""
        return 100 if self.measure.unit_interval else 1

    @property
    def style(self) -> Style:
        """How scores and differences are written: with more digits where the usual ones hide the interval's width."""
        styles = list(SIGNED)[0 if self.measure.unit_interval else 1 :]
        ends = [self.scale * end for end in (self.verdict.low, self.verdict.high)]
        apart = (style for style in styles if len({Figure(end, style).write() for end in ends}) > 1)
        return next(apart, styles[0] if ends[0] == ends[1] else styles[-1])

    def named(self, name: str) -> Contender:
        """Return the contender of this name."""
        return next(one for one in self.contenders if one.name == name)


def reason(found: Found) -> Message:
    """Return what was found and what follows from it, as one sentence."""
    parts = [_difference(found), _over_seeds(found), _beside_margin(found)]
    return msg(
        "On {rows} test {rows:row|rows} the tuned model {scores}: {differences}, {advice}.",
        rows=found.rows,
        scores=_scores(found),
        differences=Joined([part for part in parts if part], ", "),
        advice=_advice(found),
    )


def _advice(found: Found) -> Message:
    verdict = found.verdict
    if verdict.decision == "ship":
        return msg("so use it")
    if verdict.decision == "do not ship":
        return msg("so keep {contender}", contender=title_of(found.best_other))
    if verdict.seeds and verdict.low > 0:
        return msg("which trainings with other seeds do not confirm: more seeds, or more rows, are needed to tell")
    return msg(
        "which is not proven: this many rows show a difference of {shown} or more, {needed}",
        shown=_amount(found, verdict.minimum_detectable),
        needed=_needed(found),
    )


def _needed(found: Found) -> Message:
    verdict = found.verdict
    gain = Comparison(verdict.difference, verdict.low, verdict.high, verdict.p_value, verdict.minimum_detectable)
    needed = rows_needed(gain, found.rows)
    if needed is None or needed <= found.rows:
        return msg("and a few more would settle it")
    unit = 10 ** max(0, len(str(needed)) - 2)
    rows = math.ceil(needed / unit) * unit
    return msg("and proving {amount} takes about {rows} rows", amount=_amount(found, verdict.difference), rows=rows)


def _scores(found: Found) -> Message:
    tuned, other = (_score(found, one.metrics[found.metric].value) for one in (found.tuned, found.best_other))
    contender = title_of(found.best_other)
    if found.measure.per_row_binary:
        rule = "is right {value} of the time against {other} for {contender}"
        return msg(rule, value=tuned, other=other, contender=contender)
    rule = "reaches {value} in {metric} against {other} for {contender}"
    return msg(rule, value=tuned, metric=found.metric, other=other, contender=contender)


def _difference(found: Found) -> Message:
    verdict = found.verdict
    parts: list[Message] = [
        msg(
            "{confidence} interval {ends}",
            confidence=Figure(found.confidence, "percent"),
            ends=_ends(found, verdict.low, verdict.high),
        )
    ]
    if verdict.p_value < 0.001:
        parts.append(msg("p < {limit}", limit=Figure(0.001)))
    else:
        parts.append(msg("p = {p}", p=Figure(verdict.p_value, "probability")))
    inside: Wording = Joined(parts, ", ")
    if verdict.difference > 0 and found.hardest.name != verdict.against:
        inside = msg("{evidence}; least sure against {contender}", evidence=inside, contender=title_of(found.hardest))
    return msg("{difference} ({evidence})", difference=_gain(found, verdict.difference), evidence=inside)


def _gain(found: Found, difference: float) -> Message:
    if abs(difference) < NOTHING:
        return msg("no difference")
    amount = _amount(found, difference)
    return msg("{amount} better", amount=amount) if difference > 0 else msg("{amount} worse", amount=amount)


def _over_seeds(found: Found) -> Message | None:
    seeds = found.verdict.seeds
    if seeds is None:
        return None
    amount = _amount(found, seeds.difference)
    better = msg("{amount} better", amount=amount)
    return msg(
        "over {seeds} {seeds:seed|seeds} {gain} ± {spread} between seeds (interval with both {ends})",
        seeds=len(seeds.scores),
        gain=better if seeds.difference >= 0 else msg("{amount} worse", amount=amount),
        spread=_amount(found, seeds.deviation),
        ends=_ends(found, seeds.low, seeds.high),
    )


def _beside_margin(found: Found) -> Message | None:
    margin = _amount(found, found.verdict.margin)
    if found.verdict.standing == "equivalent":
        return msg("equal within {margin}", margin=margin)
    return msg("not worse by more than {margin}", margin=margin) if found.verdict.standing == "not worse" else None


def _ends(found: Found, low: float, high: float) -> Message:
    """Return the ends of an interval of a difference; both have signs unless both are positive."""
    style = found.style if low > 0 else SIGNED[found.style]
    ends = [Figure(found.scale * end, style) for end in (low, high)]
    return msg("{low} to {high}", low=ends[0], high=ends[1])


def _score(found: Found, value: float) -> Message | Figure:
    figure = Figure(found.scale * value, found.style)
    return msg("{value}%", value=figure) if found.measure.unit_interval else figure


def _amount(found: Found, difference: float) -> Message | Figure:
    """Return the size of a difference: in percentage points where the metric is a share."""
    figure = Figure(found.scale * abs(difference), found.style)
    return msg("{size} points", size=figure) if found.measure.unit_interval else figure
