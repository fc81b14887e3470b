"""Scores of the contenders on the test rows, with intervals; of predictions while training; and of each class."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kamerton.core.contracts import AnswerKind, Metric
from kamerton.core.demands import Demanding
from kamerton.core.messages import Message
from kamerton.core.outcomes import Answers, ClassResult, Contender
from kamerton.core.records import Example, Prediction
from kamerton.core.registry import choose
from kamerton.statistics.intervals import Scored, measures
from kamerton.text.tags import read_list


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

    A metric that has no value for a contender (perplexity where it gave no losses) is left out for it, and one that
    these rows leave undefined for all.
    """
    groups, contenders = [example.group for example in examples], []
    for one in answers:
        scored = _scored(examples, one.predictions, metrics)
        results = measures(list(scored.values()), groups=groups, confidence=confidence, resamples=resamples, seed=seed)
        contenders.append(
            Contender(one.name, one.kind, dict(zip(scored, results, strict=True)), one.seconds, title=one.title)
        )
    return contenders


def measure(
    examples: Sequence[Example], predictions: Sequence[Prediction], metric_names: Sequence[str]
) -> dict[str, float]:
    """Score predictions without intervals, as training does at each validation; what has no value is left out."""
    scored = _scored(examples, predictions, metric_names)
    return {name: _value(one.metric, one.statistics) for name, one in scored.items()}


def class_results(
    examples: Sequence[Example], predictions: Sequence[Prediction], answers: AnswerKind
) -> tuple[ClassResult, ...]:
    """Return precision, recall, F1 and support of every class that is gold or predicted, in alphabetical order."""
    if answers == "class":
        golds, given = [[example.gold] for example in examples], [[p.text] for p in predictions]
    elif answers == "classes":
        golds, given = [read_list(e.gold) for e in examples], [read_list(p.text) for p in predictions]
    else:
        return ()
    right = Counter(label for gold, own in zip(golds, given, strict=True) for label in {*gold} & {*own})
    wanted, found = (Counter(label for row in side for label in row) for side in (golds, given))
    counts = [(name, right[name], wanted[name], found[name]) for name in sorted(wanted | found)]
    return tuple(
        ClassResult(name, r / f if f else math.nan, r / w if w else math.nan, 2 * r / (w + f) if w else math.nan, w)
        for name, r, w, f in counts
    )


def undefined(examples: Sequence[Example], names: Sequence[str]) -> dict[str, Message]:
    """Return why metrics have no meaning on these rows, whatever is answered: by the names of those that have none."""
    chosen = [(name, choose("metrics", name)()) for name in names]
    demanding = [(name, one) for name, one in chosen if isinstance(one, Demanding)]
    return {name: one.lack for name, one in demanding if len({*map(one.offered, examples)} - {None}) < one.least}


def _scored(examples: Sequence[Example], predictions: Sequence[Prediction], names: Sequence[str]) -> dict[str, Scored]:
    golds, without = [example.gold for example in examples], undefined(examples, names)
    chosen: dict[str, Metric] = {name: choose("metrics", name)() for name in names if name not in without}
    scored = {name: Scored(metric, metric.statistics(golds, predictions)) for name, metric in chosen.items()}
    return {name: one for name, one in scored.items() if math.isfinite(_value(one.metric, one.statistics))}


def _value(metric: Metric, statistics: np.ndarray) -> float:
    return float(metric.value(statistics.sum(axis=0)))
