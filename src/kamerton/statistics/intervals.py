"""Confidence intervals of one score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kamerton.core.contracts import Metric
from kamerton.core.outcomes import Measure
from kamerton.statistics.resampling import NOTHING, Block, bootstrap_values, clustered, grouped, standard_error

SMALL = 8
"""Fewest rows for the bootstrap; below, Student's t with the jackknife."""


@dataclass(frozen=True)
class Scored:
    """A metric and its statistics `[rows, k]` of one contender's answers."""

    metric: Metric
    statistics: np.ndarray


def measures(
    scored: Sequence[Scored], *, groups: Sequence[str] = (), confidence: float, resamples: int, seed: int
) -> list[Measure]:
    """Return the score and confidence interval of each of several statistics of the same rows, on shared resamples."""
    blocks = [Block(grouped(one.statistics, groups), one.metric.value) for one in scored]
    drawn = [block for one, block in zip(scored, blocks, strict=True) if not one.metric.per_row_binary]
    replicates = iter(bootstrap_values(drawn, resamples, seed))
    return [
        _share(one, block, clustered(groups), confidence)
        if one.metric.per_row_binary
        else _score(one.metric, block, next(replicates), confidence)
        for one, block in zip(scored, blocks, strict=True)
    ]


def wilson_interval(successes: float, rows: float, confidence: float) -> Measure:
    """Return a share with its score interval (Wilson 1927), which keeps its coverage at any share and size.

    Args:
        successes: how many rows, 0 to `rows`; may be a fraction where a mean of 0-to-1 scores stands in.
        rows: at least 1; may be a fraction where it is the effective number of rows in groups.
        confidence: such as 0.95.
    """
    z2 = float(stats.norm.isf((1 - confidence) / 2)) ** 2
    share = successes / rows
    center = (successes + z2 / 2) / (rows + z2)
    half = math.sqrt(z2 * (share * (1 - share) * rows + z2 / 4)) / (rows + z2)
    return Measure(share, max(0.0, min(share, center - half)), min(1.0, max(share, center + half)))


def bootstrap_interval(block: Block, confidence: float, resamples: int, seed: int) -> Measure:
    """Return a score with its bootstrap interval."""
    [replicates] = bootstrap_values([block], resamples, seed)
    return interval_of(block.score, replicates, block.left_out, confidence)


def effective_rows(share: float, error: float, rows: int, groups: int, confidence: float) -> float:
    """Return the number of independent rows that would give a share the same standard error as these groups.

    The variance of independent rows over that of the groups (Kish 1965), with Student's t for the number of groups
    (Korn and Graubard 1998); at most the number of rows. Groups without variance count as one row each.
    """
    if error < NOTHING:
        return float(groups)
    tail = (1 - confidence) / 2
    fewer = (float(stats.norm.isf(tail)) / float(stats.t.isf(tail, max(1, groups - 1)))) ** 2
    return float(np.clip(fewer * share * (1 - share) / error**2, 1.0, rows))


def interval_of(value: float, replicates: np.ndarray, left_out: np.ndarray, confidence: float) -> Measure:
    """Choose the interval of a score by its bootstrap replicates and its values without each row."""
    rows, tail = len(left_out), (1 - confidence) / 2
    error = standard_error(left_out, value)
    if error < NOTHING:
        return Measure(value, value, value)
    if rows < SMALL:
        half = error * float(stats.t.isf(tail, max(1, rows - 1)))
        return Measure(value, value - half, value + half)
    # Hesterberg's expansion: a bootstrap is too narrow by n/(n-1) in variance, and knows no t distribution
    z = math.sqrt(rows / (rows - 1)) * float(stats.t.isf(tail, rows - 1))
    known = replicates[np.isfinite(replicates)]
    low, high = np.quantile(known, _bca_shares(value, known, left_out[np.isfinite(left_out)], z))
    return Measure(value, min(value, float(low)), max(value, float(high)))


def within(measure: Measure, low: float, high: float) -> Measure:
    """Clip an interval to a range."""
    return Measure(measure.value, max(low, measure.low), min(high, measure.high))


def _share(scored: Scored, block: Block, in_groups: bool, confidence: float) -> Measure:
    right, rows = float(scored.statistics[:, 0].sum()), len(scored.statistics)
    if not in_groups:
        return wilson_interval(right, rows, confidence)
    error = standard_error(block.left_out, right / rows)
    effective = effective_rows(right / rows, error, rows, len(block.statistics), confidence)
    return wilson_interval(right / rows * effective, effective, confidence)


def _score(metric: Metric, block: Block, replicates: np.ndarray, confidence: float) -> Measure:
    value, without = block.score, block.left_out
    if not metric.unit_interval:
        return interval_of(value, replicates, without, confidence)
    if standard_error(without, value) < NOTHING:  # all rows alike, such as all perfect: no bootstrap sees another
        return wilson_interval(value * len(without), len(without), confidence)
    return within(interval_of(value, replicates, without, confidence), 0.0, 1.0)


def _bca_shares(value: float, replicates: np.ndarray, left_out: np.ndarray, z: float) -> np.ndarray:
    """Return the two quantiles of the replicates that bound the BCa interval (Efron 1987)."""
    below = ((replicates < value - NOTHING).mean() + (replicates <= value + NOTHING).mean()) / 2
    edge = 0.5 / len(replicates)
    bias = float(stats.norm.ppf(np.clip(below, edge, 1 - edge)))
    deviations = left_out.mean() - left_out
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + np.array([-z, z])
    return stats.norm.cdf(bias + shifted / np.maximum(1 - acceleration * shifted, 0.1))
