"""The verdict's reason, as one sentence for someone who decides and does not compute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Comparison, Contender, Verdict
from kamerton.i18n.voice import ENGLISH, Voice
from kamerton.report.outcome import Outcome
from kamerton.statistics.power import rows_needed
from kamerton.statistics.resampling import NOTHING


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
    def rival(self) -> Contender:
        """The best other contender."""
        return next(one for one in self.contenders if one.name == self.verdict.against)

    @property
    def hardest(self) -> str:
        """The contender that is beaten least surely."""
        lows = {other.name: other.comparison.low for other in self.verdict.comparisons}
        return min(lows, key=lambda name: lows[name], default=self.verdict.against)

    @property
    def is_known(self) -> bool:
        """Whether the metric is known here and both sides have a value in it."""
        names = {one.name for one in self.contenders}
        return (
            self.metric in registry.names("metrics")
            and self.verdict.against in names
            and all(self.metric in one.metrics for one in (self.tuned, self.rival))
        )


def reason(found: Found, voice: Voice = ENGLISH) -> str:
    """Return what was found and what follows from it, as one sentence."""
    return _Wording(found, voice).reason()


def reason_of(outcome: Outcome, confidence: float, voice: Voice) -> str:
    """Return a finished run's reason: as its result has it in English, and where its metric is not known here."""
    verdict = outcome.verdict
    found = Found(verdict, outcome.contenders, outcome.primary_metric, outcome.data.test, confidence)
    return verdict.reason if voice.language == "en" or not found.is_known else reason(found, voice)


@dataclass(frozen=True)
class _Wording:
    found: Found
    voice: Voice

    def reason(self) -> str:
        parts = [self._difference(), self._over_seeds(), self._beside_margin()]
        return self.voice.say(
            "On {rows} test {rows:row|rows} the tuned model {scores}: {said}, {advice}.",
            {
                "rows": self.found.rows,
                "scores": self._scores(),
                "said": ", ".join(part for part in parts if part),
                "advice": self._advice(),
            },
        )

    def _advice(self) -> str:
        found, verdict, say = self.found, self.found.verdict, self.voice.say
        if verdict.decision == "ship":
            return say("so use it", {})
        if verdict.decision == "do not ship":
            return say("so keep {rival}", {"rival": self._name(found.rival.name)})
        if verdict.seeds and verdict.low > 0:
            doubt = "which trainings with other seeds do not confirm: it takes more seeds, or more rows, to tell"
            return say(doubt, {})
        shown = self._amount(verdict.minimum_detectable)
        unproven = "which is not proven: this many rows show a difference of {shown} or more, {needed}"
        return say(unproven, {"shown": shown, "needed": self._needed()})

    def _needed(self) -> str:
        found, verdict = self.found, self.found.verdict
        gain = Comparison(verdict.difference, verdict.low, verdict.high, verdict.p_value, verdict.minimum_detectable)
        needed = rows_needed(gain, found.rows)
        if needed is None or needed <= found.rows:
            return self.voice.say("and a few more would settle it", {})
        unit = 10 ** max(0, len(str(needed)) - 2)
        rows = math.ceil(needed / unit) * unit
        amount = self._amount(verdict.difference)
        return self.voice.say("and proving {amount} takes about {rows} rows", {"amount": amount, "rows": rows})

    def _scores(self) -> str:
        found = self.found
        tuned, other = (self._value(one.metrics[found.metric].value) for one in (found.tuned, found.rival))
        values = {"value": tuned, "other": other, "rival": self._name(found.rival.name), "metric": found.metric}
        if found.measure.per_row_binary:
            return self.voice.say("is right {value} of the time against {other} for {rival}", values)
        return self.voice.say("reaches {value} in {metric} against {other} for {rival}", values)

    def _difference(self) -> str:
        found, verdict = self.found, self.found.verdict
        p = "p < 0.001" if verdict.p_value < 0.001 else f"p = {verdict.p_value:.2g}"
        unsure = verdict.difference > 0 and found.hardest != verdict.against
        least = self.voice.say("; least sure against {name}", {"name": self._name(found.hardest)}) if unsure else ""
        values = {
            "difference": self._gain(verdict.difference),
            "confidence": self.voice.figure(f"{100 * found.confidence:g}"),
            "ends": self._ends(verdict.low, verdict.high),
            "p": self.voice.figure(p),
            "least": least,
        }
        return self.voice.say("{difference} ({confidence}% interval {ends}, {p}{least})", values)

    def _gain(self, difference: float) -> str:
        if abs(difference) < NOTHING:
            return self.voice.say("no difference", {})
        amount = {"amount": self._amount(difference)}
        return self.voice.say("{amount} better" if difference > 0 else "{amount} worse", amount)

    def _over_seeds(self) -> str:
        seeds = self.found.verdict.seeds
        if seeds is None:
            return ""
        amount = {"amount": self._amount(seeds.difference)}
        values = {
            "seeds": len(seeds.scores),
            "gain": self.voice.say("{amount} better" if seeds.difference >= 0 else "{amount} worse", amount),
            "spread": self._amount(seeds.deviation),
            "ends": self._ends(seeds.low, seeds.high),
        }
        over = "over {seeds} {seeds:seed|seeds} {gain} ± {spread} between seeds (interval with both {ends})"
        return self.voice.say(over, values)

    def _beside_margin(self) -> str:
        margin = {"margin": self._amount(self.found.verdict.margin)}
        if self.found.verdict.standing == "equivalent":
            return self.voice.say("equal within {margin}", margin)
        return (
            self.voice.say("not worse by more than {margin}", margin)
            if self.found.verdict.standing == "not worse"
            else ""
        )

    def _ends(self, low: float, high: float) -> str:
        scale, digits = (100, 1) if self.found.measure.unit_interval else (1, 2)
        style = f".{digits}f" if low > 0 else f"+.{digits}f"
        ends = [self.voice.figure(format(scale * end, style).replace("-", "−")) for end in (low, high)]
        return self.voice.interval(*ends)

    def _name(self, contender: str) -> str:
        return self.voice.repeat(contender)

    def _value(self, value: float) -> str:
        return self.voice.figure(f"{value:.1%}" if self.found.measure.unit_interval else f"{value:.2f}")

    def _amount(self, difference: float) -> str:
        if not self.found.measure.unit_interval:
            return self.voice.figure(f"{abs(difference):.2f}")
        return self.voice.say("{size} points", {"size": self.voice.figure(f"{100 * abs(difference):.1f}")})
