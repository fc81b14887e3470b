"""Paired comparison of two scores on the same rows: interval, test, multiple comparisons."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Comparison, Measure
from kamerton.core.records import Prediction
from kamerton.statistics.intervals import interval_of, within
from kamerton.statistics.power import FEWEST, detectable_score, detectable_share, rows_for_score, rows_for_share
from kamerton.statistics.resampling import (
    NOTHING,
    Block,
    bootstrap_values,
    clustered,
    paired,
    standard_error,
    swapped_p,
)


@dataclass(frozen=True)
class Pairing:
    """A paired comparison, resampled once: first minus second, in the metric's own unit."""

    p_value: float
    minimum_detectable: float
    interval: Callable[[float], Measure]
    """The difference with its interval at any confidence."""
    rows_for: Callable[[float], int]
    """Rows like these that would detect a difference, not 0, with 80% power at the 5% level."""

    def at(self, confidence: float) -> Comparison:
        """Return the comparison at one confidence."""
        measure = self.interval(confidence)
        return Comparison(measure.value, measure.low, measure.high, self.p_value, self.minimum_detectable)


def pair(
    metric: Metric,
    golds: Sequence[str],
    first: Sequence[Prediction],
    others: Sequence[Sequence[Prediction]],
    *,
    groups: Sequence[str] = (),
    resamples: int,
    seed: int,
) -> list[Pairing]:
    """Pair one contender's answers with those of each other contender, on the same resamples.

    Args:
        metric: in which all must have a value.
        golds: the right answers.
        first: predictions of the one contender.
        others: predictions of each other one, at least one of them.
        groups: each row's group; empty if rows are independent.
        resamples: of bootstrap and randomisation, for a metric that needs them.
        seed: of both.
    """
    one, *rest = paired(metric, golds, [first, *others], groups)
    return pair_blocks(metric, one, rest, in_groups=clustered(groups), resamples=resamples, seed=seed)


def pair_blocks(
    metric: Metric, one: Block, rest: Sequence[Block], *, in_groups: bool, resamples: int, seed: int
) -> list[Pairing]:
    """Pair one contender's statistics with those of others, which were counted together with them.

    Args:
        metric: of the statistics.
        one: of the one contender.
        rest: of each other one.
        in_groups: whether a row of the statistics may stand for several rows.
        resamples: of bootstrap and randomisation.
        seed: of both.
    """
    if metric.per_row_binary and not in_groups:
        return [_paired_shares(one.statistics[:, 0] > 0, other.statistics[:, 0] > 0) for other in rest]
    replicates = bootstrap_values([one, *rest], resamples, seed)
    p_values = swapped_p(one, rest, resamples, seed)
    return [
        _paired_scores(metric, one, other, replicates[0] - replicates[1 + i], p_values[i])
        for i, other in enumerate(rest)
    ]


def paired_share_interval(first_only: int, second_only: int, rows: int, confidence: float) -> Measure:
    """Return the difference of two shares on the same rows with Bonett and Price's adjusted Wald interval (2012).

    One row is added to each kind of disagreement, so that the interval has a width even without any.
    """
    one, two = (first_only + 1) / (rows + 2), (second_only + 1) / (rows + 2)
    half = float(stats.norm.isf((1 - confidence) / 2)) * math.sqrt((one + two - (one - two) ** 2) / (rows + 2))
    difference = (first_only - second_only) / rows
    low, high = min(difference, one - two - half), max(difference, one - two + half)
    return within(Measure(difference, low, high), -1.0, 1.0)


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Return the p-value of the exact two-sided McNemar test (1947) of two contenders being right equally often."""
    disagreements = first_only + second_only
    return float(stats.binomtest(first_only, disagreements).pvalue) if disagreements else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple claims (Holm 1979), in the given order.

    Claims whose adjusted p is below α are all true with probability 1 - α or more, under any dependence.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _paired_shares(first: np.ndarray, second: np.ndarray) -> Pairing:
    rows, first_only, second_only = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    disagreement = (first_only + second_only) / rows
    return Pairing(
        mcnemar_p(first_only, second_only),
        detectable_share(disagreement, rows),
        lambda confidence: paired_share_interval(first_only, second_only, rows, confidence),
        lambda planned: rows_for_share(planned, disagreement),
    )


def _paired_scores(metric: Metric, first: Block, second: Block, replicates: np.ndarray, p_value: float) -> Pairing:
    rows = len(first.statistics)
    difference, without = first.score - second.score, first.left_out - second.left_out
    error = standard_error(without, difference)
    detectable, interval = detectable_score(error, rows), partial(interval_of, difference, replicates, without)
    if metric.unit_interval and error < NOTHING:  # all rows differ alike: no bootstrap sees another
        detectable, interval = detectable_share(0.0, rows), partial(_unseen, difference, rows)
    elif metric.unit_interval:
        detectable = min(1.0, detectable if rows >= FEWEST else 1.0)
    bound = 1.0 if metric.unit_interval else math.inf
    return Pairing(
        p_value,
        detectable,
        lambda confidence: within(interval(confidence), -bound, bound),
        lambda planned: rows_for_score(planned, detectable, rows),
    )


def _unseen(difference: float, rows: int, confidence: float) -> Measure:
    unseen = paired_share_interval(0, 0, rows, confidence)
    return Measure(difference, difference + unseen.low, difference + unseen.high)
