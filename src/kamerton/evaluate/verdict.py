"""Is the tuned model worth using? One decision on one metric that was named beforehand, against the best other.

The opponent is whichever other contender scores highest on these very rows. Choosing the luckiest of
several can only flatter the opponent, so a "ship" is on the safe side, and no correction for several
comparisons is needed: only one metric and one pair decide.

The decision, with the difference signed so that positive means that the tuned model is better:
- ship: the whole confidence interval is above 0, and the paired test's p is below 1 - confidence;
- do not ship: the tuned model scores no higher than the opponent, which is cheaper;
- not proven: it scores higher, but chance could have made that difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kamerton.contracts import Metric
from kamerton.errors import Fault, RunError
from kamerton.plugins import choose
from kamerton.records import Answers, Comparison, Contender, Example, Verdict
from kamerton.statistics.comparison import compare
from kamerton.statistics.power import rows_needed
from kamerton.statistics.resampling import NOTHING

Decision = Literal["ship", "do not ship", "not proven"]


def judge(
    examples: Sequence[Example],
    answers: Sequence[Answers],
    contenders: Sequence[Contender],
    metric: str,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Verdict:
    """Judge the tuned contender against the best other one by the primary metric.

    Args:
        examples: the test rows.
        answers: every contender's predictions for these rows, in their order.
        contenders: the same contenders' scores.
        metric: name of the metric that decides.
        confidence: such as 0.95.
        resamples: of bootstrap and randomisation, for a metric that needs them.
        seed: of both.

    Raises:
        RunError: there is no tuned contender, or no other, that has a value in this metric.

    """
    measure: Metric = choose("metrics", metric)()
    sign = 1 if measure.higher_is_better else -1
    pair = _pair(contenders, metric, sign)
    predictions = {one.name: one.predictions for one in answers}
    comparison = compare(
        measure,
        [example.gold for example in examples],
        predictions[pair.tuned.name],
        predictions[pair.other.name],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    gain = comparison if sign > 0 else _reversed(comparison)
    decision = decide(gain, confidence)
    reason = _Wording(metric, measure, pair, gain, len(examples), confidence).reason(decision)
    return Verdict(
        decision, pair.other.name, gain.difference, gain.low, gain.high, gain.p_value, gain.minimum_detectable, reason
    )


def decide(gain: Comparison, confidence: float) -> Decision:
    """Apply the rule at the top of this file to a comparison in which positive means better."""
    if gain.low > 0 and gain.p_value < 1 - confidence:
        return "ship"
    return "do not ship" if gain.difference < NOTHING else "not proven"


@dataclass(frozen=True)
class _Pair:
    tuned: Contender
    other: Contender


def _pair(contenders: Sequence[Contender], metric: str, sign: int) -> _Pair:
    tuned = [one for one in contenders if one.kind == "tuned" and metric in one.metrics]
    others = [one for one in contenders if one.kind != "tuned" and metric in one.metrics]
    if not tuned or not others:
        missing = "another contender" if tuned else "a tuned model"
        remedy = "set evaluate.metric to a metric that the tuned model and another contender both have"
        raise RunError(Fault(f"a verdict by {metric} needs {missing} with a value in it", remedy=remedy))
    return _Pair(tuned[0], max(others, key=lambda one: sign * one.metrics[metric].value))


def _reversed(comparison: Comparison) -> Comparison:
    return replace(comparison, difference=-comparison.difference, low=-comparison.high, high=-comparison.low)


@dataclass(frozen=True)
class _Wording:
    """The verdict's reason, as one sentence for someone who decides and does not compute."""

    metric: str
    measure: Metric
    pair: _Pair
    gain: Comparison
    rows: int
    confidence: float

    def reason(self, decision: Decision) -> str:
        """Say what was found and what follows from it."""
        tuned, other = (one.metrics[self.metric].value for one in (self.pair.tuned, self.pair.other))
        found = f"On {self.rows:,} test rows the tuned model {self._scores(tuned)} against {self._value(other)} for"
        return f"{found} {self.pair.other.name}: {self._difference()} ({self._interval()}), {self._advice(decision)}."

    def _advice(self, decision: Decision) -> str:
        if decision == "ship":
            return "so use it"
        if decision == "do not ship":
            return f"so keep {self.pair.other.name}"
        shown = self._amount(self.gain.minimum_detectable)
        return f"which is not proven: this many rows show a difference of {shown} or more, {self._needed()}"

    def _needed(self) -> str:
        needed = rows_needed(self.gain, self.rows)
        if needed is None or needed <= self.rows:
            return "and a few more would settle it"
        unit = 10 ** max(0, len(str(needed)) - 2)
        return f"and proving {self._amount(self.gain.difference)} takes about {math.ceil(needed / unit) * unit:,} rows"

    def _scores(self, value: float) -> str:
        if self.measure.per_row_binary:
            return f"is right {self._value(value)} of the time"
        return f"reaches {self._value(value)} in {self.metric}"

    def _difference(self) -> str:
        if abs(self.gain.difference) < NOTHING:
            return "no difference"
        return f"{self._amount(self.gain.difference)} {'better' if self.gain.difference > 0 else 'worse'}"

    def _interval(self) -> str:
        scale, digits = (100, 1) if self.measure.unit_interval else (1, 2)
        style = f".{digits}f" if self.gain.low > 0 else f"+.{digits}f"
        low, high = (format(scale * end, style).replace("-", "−") for end in (self.gain.low, self.gain.high))
        p = "p < 0.001" if self.gain.p_value < 0.001 else f"p = {self.gain.p_value:.2g}"
        return f"{100 * self.confidence:g}% interval {low} to {high}, {p}"

    def _value(self, value: float) -> str:
        return f"{value:.1%}" if self.measure.unit_interval else f"{value:.2f}"

    def _amount(self, difference: float) -> str:
        return f"{100 * abs(difference):.1f} points" if self.measure.unit_interval else f"{abs(difference):.2f}"
