"""The verdict's reason, as one sentence for someone who decides and does not compute."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.figures import Figure, Style
from kamerton.core.messages import Joined, Message, Wording, between, msg
from kamerton.core.outcomes import Contender, Verdict
from kamerton.report.outcome import title_of
from kamerton.statistics.power import rows_for_score
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
        return registry.choose("metrics", self.metric)()

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
    parts = [part for part in (_difference(found), _over_seeds(found), _beside_margin(found)) if part]
    rule = "On {rows} test {rows:row|rows} the tuned model {scores}: {differences}, {advice}."
    differences, advice = Joined(parts, ", "), _advice(found)
    return msg(rule, rows=found.rows, scores=_scores(found), differences=differences, advice=advice)


def _advice(found: Found) -> Message:
    verdict = found.verdict
    if verdict.decision == "ship":
        return msg("so use it")
    if verdict.decision == "do not ship":
        return msg("so keep {contender}", contender=title_of(found.best_other))
    if verdict.seeds and verdict.low > 0:
        return msg("which trainings with other seeds do not confirm: more seeds, or more rows, are needed to tell")
    if not verdict.minimum_detectable:  # no interval either
        return msg("which is not proven: more rows are needed to tell, for these all differ alike")
    return msg(
        "which is not proven: this many rows show a difference of {shown} or more, {needed}",
        shown=_amount(found, verdict.minimum_detectable),
        needed=_needed(found),
    )


def _needed(found: Found) -> Message:
    verdict = found.verdict
    equal = abs(verdict.difference) < NOTHING
    needed = 0 if equal else rows_for_score(verdict.difference, verdict.minimum_detectable, found.rows)
    if needed <= found.rows:
        return msg("and a few more would settle it")
    unit = 10 ** max(0, len(str(needed)) - 2)
    rows = math.ceil(needed / unit) * unit
    return msg("and proving {amount} takes about {rows} rows", amount=_amount(found, verdict.difference), rows=rows)


def _scores(found: Found) -> Message:
    values = (one.metrics[found.metric].value for one in (found.tuned, found.best_other))
    figures = (Figure(found.scale * value, found.style) for value in values)
    shares, contender = found.measure.unit_interval, title_of(found.best_other)
    scores: list[Message | Figure] = [msg("{value}%", value=figure) if shares else figure for figure in figures]
    tuned, other = scores
    if found.measure.per_row_binary:
        rule = "is right {value} of the time against {other} for {contender}"
        return msg(rule, value=tuned, other=other, contender=contender)
    rule = "reaches {value} in {metric} against {other} for {contender}"
    return msg(rule, value=tuned, metric=found.metric, other=other, contender=contender)


def _difference(found: Found) -> Message:
    verdict, ends = found.verdict, _ends(found, found.verdict.low, found.verdict.high)
    interval = msg("{confidence} interval {ends}", confidence=Figure(found.confidence, "percent"), ends=ends)
    limit = msg("p < {limit}", limit=Figure(0.001))
    p_value = limit if verdict.p_value < 0.001 else msg("p = {p}", p=Figure(verdict.p_value, "probability"))
    inside: Wording = Joined([interval, p_value], ", ")
    if verdict.difference > 0 and found.hardest.name != verdict.against:
        inside = msg("{evidence}; least sure against {contender}", evidence=inside, contender=title_of(found.hardest))
    equal = abs(verdict.difference) < NOTHING
    gain = msg("no difference") if equal else _gain(found, verdict.difference)
    return msg("{difference} ({evidence})", difference=gain, evidence=inside)


def _gain(found: Found, difference: float) -> Message:
    amount = _amount(found, difference)
    return msg("{amount} better", amount=amount) if difference >= 0 else msg("{amount} worse", amount=amount)


def _over_seeds(found: Found) -> Message | None:
    seeds = found.verdict.seeds
    if seeds is None:
        return None
    return msg(
        "over {seeds} {seeds:seed|seeds} {gain} ± {spread} between seeds (interval with both {ends})",
        seeds=len(seeds.scores),
        gain=_gain(found, seeds.difference),
        spread=_amount(found, seeds.deviation),
        ends=_ends(found, seeds.low, seeds.high),
    )


def _beside_margin(found: Found) -> Message | None:
    margin = _amount(found, found.verdict.margin)
    within, above = msg("equal within {margin}", margin=margin), msg("not worse by more than {margin}", margin=margin)
    return {"equivalent": within, "not worse": above}.get(found.verdict.standing)


def _ends(found: Found, low: float, high: float) -> Message:
    """Return the ends of an interval of a difference; both have signs unless both are positive."""
    style = found.style if low > 0 else SIGNED[found.style]
    return between(found.scale * low, found.scale * high, style)


def _amount(found: Found, difference: float) -> Message | Figure:
    """Return the size of a difference: in percentage points where the metric is a share."""
    figure = Figure(found.scale * abs(difference), found.style)
    return msg("{size} points", size=figure) if found.measure.unit_interval else figure
