"""Intervals, tests and power for scores on the same rows, computed from sufficient statistics.

Each row of a test set is a row of additive counts (see `contracts.Metric`), so a resampled score is
one matrix product and never counts anything again. What is used when:

| question                    | a row is right or wrong     | any other metric                           |
|-----------------------------|-----------------------------|--------------------------------------------|
| interval of one score       | Wilson                      | BCa bootstrap, expanded for small samples  |
| interval of a difference    | Bonett and Price            | paired BCa bootstrap, expanded             |
| is the difference chance?   | exact McNemar               | approximate randomisation                  |
| smallest provable difference| McNemar's power (Connor)    | 2.8 jackknife standard errors (by t)       |

Sources: Wilson 1927; Bonett and Price 2012 (recommended by Fagerland, Lydersen and Laake, Statistics
in Medicine 2014); Efron 1987 (BCa); Hesterberg 2015, "What Teachers Should Know about the Bootstrap"
(the expansion); Noreen 1989 (randomisation); Connor, Biometrics 1987 (power of McNemar's test).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kamerton.contracts import Metric
from kamerton.records import Comparison, Measure, Prediction

Value = Callable[[np.ndarray], np.ndarray]
"""A metric's `value`: summed statistics `[..., k]` to scores `[...]`."""

ELEMENTS = 2_000_000
"""Entries of a resampling matrix that are held at once: 16 MB in float64."""
SMALL = 8
"""Below this many rows a bootstrap only repeats the few it has seen; Student's t with the jackknife is used."""
FEWEST = 6
"""With fewer rows no paired test reaches 5%: five rows all one way still have p = 2 / 2**5 = 0.06."""
NOTHING = 1e-12
"""Scores that differ by less are equal: what remains is rounding."""
Z_ALPHA = float(stats.norm.isf(0.025))
Z_POWER = float(stats.norm.isf(0.20))


@dataclass(frozen=True)
class Scored:
    """A metric and its statistics `[rows, k]` of one contender's answers."""

    metric: Metric
    statistics: np.ndarray


# ── one score ─────────────────────────────────────────────────────────────────────────────────


def measures(scored: Sequence[Scored], *, confidence: float, resamples: int, seed: int) -> list[Measure]:
    """Give the score and confidence interval of each of several statistics of the same rows.

    All of them share each resample, so that drawing it is paid for once.
    """
    drawn = [one for one in scored if not one.metric.per_row_binary]
    replicates = iter(bootstrap_values([(s.statistics, s.metric.value) for s in drawn], resamples, seed))
    return [
        _share(one, confidence) if one.metric.per_row_binary else _score(one, next(replicates), confidence)
        for one in scored
    ]


def wilson_interval(successes: float, rows: int, confidence: float) -> Measure:
    """Give a share with its score interval (Wilson 1927), which holds its coverage at any share and size.

    Args:
        successes: how many rows, 0 to `rows`; may be a fraction where a mean of 0-to-1 scores stands in.
        rows: at least 1.
        confidence: such as 0.95.

    """
    z2 = float(stats.norm.isf((1 - confidence) / 2)) ** 2
    share = successes / rows
    centre = (successes + z2 / 2) / (rows + z2)
    half = math.sqrt(z2 * (share * (1 - share) * rows + z2 / 4)) / (rows + z2)
    return Measure(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_interval(statistics: np.ndarray, value: Value, confidence: float, resamples: int, seed: int) -> Measure:
    """Give a score with its bootstrap interval.

    Args:
        statistics: `[rows, k]`, one row or more.
        value: summed statistics to score.
        confidence: such as 0.95.
        resamples: how many, 1,000 or more.
        seed: the same one gives the same interval.

    """
    [replicates] = bootstrap_values([(statistics, value)], resamples, seed)
    totals = statistics.sum(axis=0)
    return _interval(float(value(totals)), replicates, value(totals - statistics), confidence)


def _share(scored: Scored, confidence: float) -> Measure:
    right = scored.statistics[:, 0]
    return wilson_interval(float(right.sum()), len(right), confidence)


def _score(scored: Scored, replicates: np.ndarray, confidence: float) -> Measure:
    metric, totals = scored.metric, scored.statistics.sum(axis=0)
    value, left_out = float(metric.value(totals)), metric.value(totals - scored.statistics)
    if not metric.unit_interval:
        return _interval(value, replicates, left_out, confidence)
    if standard_error(left_out, value) < NOTHING:  # all rows alike, such as all perfect: no bootstrap sees another
        return wilson_interval(value * len(left_out), len(left_out), confidence)
    return _within(_interval(value, replicates, left_out, confidence), 0.0, 1.0)


# ── two scores on the same rows ───────────────────────────────────────────────────────────────


def compare(
    metric: Metric,
    golds: Sequence[str],
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Compare two contenders' answers to the same rows: first minus second, in the metric's own unit.

    The statistics of both are counted together, so that they have the same columns and rows can be swapped.
    Both must have a value in this metric.
    """
    both = metric.statistics([*golds, *golds], [*first, *second])
    one, two = both[: len(golds)], both[len(golds) :]
    if metric.per_row_binary:
        return _compare_shares(one[:, 0] > 0, two[:, 0] > 0, confidence)
    value = metric.value
    interval = difference_interval(one, two, value, confidence, resamples, seed)
    error = standard_error(_left_out_differences(one, two, value), interval.value)
    detectable = detectable_score(error, len(golds))
    if metric.unit_interval:
        if error < NOTHING:
            unseen = paired_share_interval(0, 0, len(golds), confidence)
            low, high = interval.value + unseen.low, interval.value + unseen.high
            interval, detectable = Measure(interval.value, low, high), detectable_share(0.0, len(golds))
        interval, detectable = _within(interval, -1.0, 1.0), min(1.0, detectable if len(golds) >= FEWEST else 1.0)
    p_value = permutation_p(one, two, value, resamples, seed)
    return Comparison(interval.value, interval.low, interval.high, p_value, detectable)


def paired_share_interval(first_only: int, second_only: int, rows: int, confidence: float) -> Measure:
    """Give the difference of two shares on the same rows with Bonett and Price's adjusted Wald interval (2012).

    One row is added to each kind of disagreement, so that the interval has a width even where none was seen.

    Args:
        first_only: rows that only the first has right.
        second_only: rows that only the second has right.
        rows: all rows.
        confidence: such as 0.95.

    """
    one, two = (first_only + 1) / (rows + 2), (second_only + 1) / (rows + 2)
    half = float(stats.norm.isf((1 - confidence) / 2)) * math.sqrt((one + two - (one - two) ** 2) / (rows + 2))
    difference = (first_only - second_only) / rows
    low, high = min(difference, one - two - half), max(difference, one - two + half)
    return _within(Measure(difference, low, high), -1.0, 1.0)


def difference_interval(
    first: np.ndarray, second: np.ndarray, value: Value, confidence: float, resamples: int, seed: int
) -> Measure:
    """Give the difference of two scores, first minus second, with its paired bootstrap interval.

    Args:
        first: statistics `[rows, k]` of the first contender.
        second: those of the second for the same rows.
        value: summed statistics to score.
        confidence: such as 0.95.
        resamples: how many, 1,000 or more.
        seed: the same one gives the same interval.

    """
    replicates = bootstrap_values([(first, value), (second, value)], resamples, seed)
    difference = float(value(first.sum(axis=0)) - value(second.sum(axis=0)))
    left_out = _left_out_differences(first, second, value)
    return _interval(difference, replicates[0] - replicates[1], left_out, confidence)


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Test, exactly and on both sides, whether two contenders are right equally often (McNemar 1947).

    Args:
        first_only: rows that only the first has right.
        second_only: rows that only the second has right.

    """
    disagreements = first_only + second_only
    return float(stats.binomtest(first_only, disagreements).pvalue) if disagreements else 1.0


def permutation_p(first: np.ndarray, second: np.ndarray, value: Value, resamples: int, seed: int) -> float:
    """Test whether two contenders differ by approximate randomisation (Noreen 1989), on both sides.

    Under the null hypothesis each row's two answers might as well have been swapped. With `b` of `m` random
    swappings at least as far apart as the real answers, p = (b + 1) / (m + 1), which is never 0.
    """
    swap = second - first
    totals_first, totals_second = first.sum(axis=0), second.sum(axis=0)
    observed = abs(value(totals_first) - value(totals_second))
    swap = swap[np.any(swap != 0, axis=1)]  # swapping equal rows changes nothing
    generator, extreme = np.random.default_rng(seed), 0
    for size in _chunks(resamples, len(swap)):
        moved = generator.integers(0, 2, (size, len(swap)), dtype=np.int8).astype(np.float64) @ swap
        differences = np.abs(value(totals_first + moved) - value(totals_second - moved))
        extreme += int((differences >= observed - NOTHING).sum())
    return (extreme + 1) / (resamples + 1)


def _compare_shares(first: np.ndarray, second: np.ndarray, confidence: float) -> Comparison:
    rows, first_only, second_only = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    interval = paired_share_interval(first_only, second_only, rows, confidence)
    detectable = detectable_share((first_only + second_only) / rows, rows)
    return Comparison(interval.value, interval.low, interval.high, mcnemar_p(first_only, second_only), detectable)


def _left_out_differences(first: np.ndarray, second: np.ndarray, value: Value) -> np.ndarray:
    return value(first.sum(axis=0) - first) - value(second.sum(axis=0) - second)


# ── power ─────────────────────────────────────────────────────────────────────────────────────


def detectable_share(disagreement: float, rows: int) -> float:
    """Give the smallest difference of two shares that McNemar's test shows with 80% power at the 5% level.

    Connor (1987): rows · d² = (z_α √ψ + z_β √(ψ − d²))², solved for the difference d. Where the observed share of
    disagreement ψ is too small to hold such a difference, all disagreement would have to be in its favour: ψ = d,
    and d = (z_α + z_β)² / rows, slightly too large to be on the safe side.

    Args:
        disagreement: ψ, the share of rows that only one of the two has right.
        rows: how many rows both answered.

    """
    square = rows - Z_ALPHA**2 + Z_POWER**2
    if square > 0:
        spread = math.sqrt(disagreement) * (Z_ALPHA * math.sqrt(rows) + Z_POWER * math.sqrt(square))
        difference = spread / (rows + Z_POWER**2)
        if 0 < difference <= disagreement:
            return difference
    return min(1.0, (Z_ALPHA + Z_POWER) ** 2 / rows)


def detectable_score(error: float, rows: int) -> float:
    """Give the smallest difference of two scores that is shown with 80% power at the 5% level.

    Args:
        error: standard error of the paired difference.
        rows: how many rows both answered; from about 50 on this is (1.96 + 0.84) errors.

    """
    freedom = max(1, rows - 1)
    return float(stats.t.isf(0.025, freedom) + stats.t.isf(0.20, freedom)) * error


def rows_needed(comparison: Comparison, rows: int) -> int | None:
    """Estimate how many rows would show the observed difference with 80% power; None if there is none.

    What can be shown shrinks with the square root of the rows.
    """
    if abs(comparison.difference) < NOTHING:
        return None
    return max(rows, math.ceil(rows * (comparison.minimum_detectable / comparison.difference) ** 2))


def standard_error(left_out: np.ndarray, value: float) -> float:
    """Give the jackknife's standard error (Efron and Tibshirani 1993, ch. 11).

    One row shows no spread at all: then the spread is taken to be as large as the value itself, at least 1.

    Args:
        left_out: `[rows]`, the score without each row.
        value: the score with all of them.

    """
    known = left_out[np.isfinite(left_out)]
    if len(known) < 2:
        return max(1.0, abs(value))
    return float(math.sqrt((len(known) - 1) * known.var()))


# ── the resampling itself ─────────────────────────────────────────────────────────────────────


def bootstrap_values(blocks: Sequence[tuple[np.ndarray, Value]], resamples: int, seed: int) -> np.ndarray:
    """Score every block on the same resamples: `[blocks, resamples]`.

    Args:
        blocks: statistics `[rows, k]` and what turns their sums into scores; all have the same rows.
        resamples: how many.
        seed: of the draws.

    """
    values = np.empty((len(blocks), resamples))
    rows, done = (len(blocks[0][0]) if blocks else 0), 0
    for counts in _resampled_counts(rows, resamples if blocks else 0, seed):
        for row, (statistics, value) in zip(values, blocks, strict=True):
            row[done : done + len(counts)] = value(counts @ statistics)
        done += len(counts)
    return values


def _resampled_counts(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw `rows` rows with replacement, `resamples` times; give how often each was drawn: `[some, rows]`."""
    generator = np.random.default_rng(seed)
    for size in _chunks(resamples, rows):
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def _chunks(resamples: int, rows: int) -> Iterator[int]:
    """Split the resamples so that `ELEMENTS` bounds the memory."""
    chunk = max(1, ELEMENTS // max(1, rows))
    for done in range(0, resamples, chunk):
        yield min(chunk, resamples - done)


def _interval(value: float, replicates: np.ndarray, left_out: np.ndarray, confidence: float) -> Measure:
    """Choose the interval for the number of rows; it always holds the value itself."""
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


def _bca_shares(value: float, replicates: np.ndarray, left_out: np.ndarray, z: float) -> np.ndarray:
    """Give the two shares of the replicates that bound the interval (Efron 1987: bias-corrected, accelerated)."""
    below = ((replicates < value - NOTHING).mean() + (replicates <= value + NOTHING).mean()) / 2
    edge = 0.5 / len(replicates)
    bias = float(stats.norm.ppf(np.clip(below, edge, 1 - edge)))
    deviations = left_out.mean() - left_out
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + np.array([-z, z])
    return stats.norm.cdf(bias + shifted / np.maximum(1 - acceleration * shifted, 0.1))


def _within(measure: Measure, low: float, high: float) -> Measure:
    return Measure(measure.value, max(low, measure.low), min(high, measure.high))
