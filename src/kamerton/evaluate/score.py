"""Scores of the contenders on the test rows, with intervals; and of predictions while training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Answers, Contender
from kamerton.core.records import Example, Prediction
from kamerton.core.registry import choose
from kamerton.statistics.intervals import Scored, measures


def score(
    examples: Sequence[Example],
    answers: Sequence[Answers],
    metrics: Sequence[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Contender]:
    """Score every contender in every metric that its answers allow, in the order of `answers`.

    A metric that has no value for a contender (perplexity where it gave no losses) is left out for it.
    """
    golds, groups = [example.gold for example in examples], [example.group for example in examples]
    contenders = []
    for one in answers:
        scored = _scored(golds, one.predictions, metrics)
        results = measures(list(scored.values()), groups=groups, confidence=confidence, resamples=resamples, seed=seed)
        contenders.append(
            Contender(one.name, one.kind, dict(zip(scored, results, strict=True)), one.seconds, title=one.title)
        )
    return contenders


def measure(
    examples: Sequence[Example], predictions: Sequence[Prediction], metric_names: Sequence[str]
) -> dict[str, float]:
    """Score predictions without intervals, as training does at each validation; what has no value is left out."""
    scored = _scored([example.gold for example in examples], predictions, metric_names)
    return {name: _value(one.metric, one.statistics) for name, one in scored.items()}


def _scored(golds: Sequence[str], predictions: Sequence[Prediction], names: Sequence[str]) -> dict[str, Scored]:
    chosen: dict[str, Metric] = {name: choose("metrics", name)() for name in names}
    scored = {name: Scored(metric, metric.statistics(golds, predictions)) for name, metric in chosen.items()}
    return {name: one for name, one in scored.items() if math.isfinite(_value(one.metric, one.statistics))}


def _value(metric: Metric, statistics: np.ndarray) -> float:
    return float(metric.value(statistics.sum(axis=0)))
