"""The verdict's reason in the reader's language, put together from the result's values."""

from __future__ import annotations

from kamerton.core import registry
from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Comparison
from kamerton.i18n.voice import Voice
from kamerton.report.outcome import Outcome
from kamerton.report.verdict_text import Found, reason


def reason_of(outcome: Outcome, confidence: float, voice: Voice) -> str:
    """Give the reason: as the result has it in English, else worded anew; English too for a metric not known here."""
    verdict = outcome.verdict
    rival = next((one for one in outcome.contenders if one.name == verdict.against), None)
    ours, metric = outcome.tuned, outcome.primary_metric
    if voice.language == "en" or rival is None or metric not in registry.names("metrics"):
        return verdict.reason
    if metric not in ours.metrics or metric not in rival.metrics:
        return verdict.reason
    lows = {other.name: other.comparison.low for other in verdict.comparisons}
    hardest = min(
        (one for one in outcome.contenders if one.name in lows), key=lambda one: lows[one.name], default=rival
    )
    gain = Comparison(verdict.difference, verdict.low, verdict.high, verdict.p_value, verdict.minimum_detectable)
    measure: Metric = registry.choose("metrics", metric)()
    found = Found(
        metric=metric,
        measure=measure,
        tuned=ours,
        rival=rival,
        hardest=hardest,
        gain=gain,
        rows=outcome.data.test,
        confidence=confidence,
        standing=verdict.standing,
        margin=verdict.margin,
        seeds=verdict.seeds,
    )
    return reason(found, verdict.decision, voice)
