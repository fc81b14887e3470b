"""Anytime-valid inference: betting e-processes and confidence sequences.

The outcomes are a sequence of differences between two arms, from -1 to 1. If the mean difference is m, bets on it are
fair: with a fixed stake λ, the wealth is the product of 1 + λ (difference - m). The e-value is the mean wealth over
stakes spread evenly over their range. If the claim is true, it ever reaches 1 / α with probability α at most (Ville's
inequality), however often one looks and whenever one stops.

- For m = 0 and wins, ties and losses (1, 0, -1) the average is exact: 2^(w+l) B(1+w, 1+l).
- The confidence sequence is the set of m at which the wealth is below 1 / α. The wealth is log-convex in m, so it is
  an interval. (With stakes θ/(1+m) and -θ/(1-m), θ from 0 to 1, each factor is log-convex in m, and so are products
  and averages of such.)

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024; Robbins 1970.
Beside confseq 0.0.11 (`betting_cs`) on 120 simulated logs of 1,000 outcomes, 80% of them ties: a difference of 6 points
is found in 90% of the logs instead of 77%; intervals are 6% wider after 100 outcomes and 5% narrower after 1,000.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaln, logsumexp

from kamerton.core.outcomes import Measure
from kamerton.statistics.resampling import ELEMENTS

STAKES = 128
"""Stakes on either side where there is no closed form. Any number is valid; more lose less."""
STEPS = 40
"""Halvings in the search for an end of the interval."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(STAKES)
_THETA, _LOG_SHARE = (_NODES + 1) / 2, np.log(_WEIGHTS / 4)  # stakes in 0 to 1; half of the wealth on either side


def log_e_values(differences: np.ndarray) -> np.ndarray:
    """Return the log e-value against "the mean difference is 0" after each of differences from -1 to 1: `[..., n]`."""
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        wins, losses = (differences > 0).cumsum(axis=-1), (differences < 0).cumsum(axis=-1)
        return (wins + losses) * math.log(2) + betaln(1 + wins, 1 + losses)
    return np.array([_log_path(row) for row in np.atleast_2d(differences)]).reshape(differences.shape)


def confidence_sequence(differences: np.ndarray, confidence: float) -> Measure:
    """Return the mean difference with an interval that covers the true one at every look simultaneously.

    Args:
        differences: `[n]`, each -1 to 1, at least one.
        confidence: such as 0.95.
    """
    distinct, counts = np.unique(differences, return_counts=True)
    mean, limit = float(differences.mean()), -math.log(1 - confidence)

    def end(possible: float) -> float:
        """Search for the end of the interval between `possible` and the mean."""
        outside, inside = possible, mean
        for _ in range(STEPS if outside != inside else 0):
            middle = (outside + inside) / 2
            if _log_wealth(distinct, counts, middle) < limit:
                inside = middle
            else:
                outside = middle
        return outside

    return Measure(mean, end(-1.0), end(1.0))


def match_arms(in_first: Sequence[bool], outcomes: Sequence[float]) -> np.ndarray:
    """Match unpaired outcomes of two arms, and return the differences.

    Each outcome of the arm with fewer is compared with the mean of as many waiting outcomes of the other as the whole
    ratio of their counts so far, at least one. That number depends only on the assignment to arms, so that the mean of
    every difference is the difference of the arms, if assignment is independent of outcomes. Outcomes that still wait
    at the end are not used.

    Args:
        in_first: whether each outcome is the first arm's.
        outcomes: each 0 to 1, in order.
    """
    waiting: dict[bool, list[float]] = {True: [], False: []}
    seen = {True: 0, False: 0}
    differences = []
    for arm, outcome in zip(in_first, outcomes, strict=True):
        waiting[arm].append(outcome)
        seen[arm] += 1
        if waiting[True] and waiting[False]:
            means = {side: _take(waiting[side], seen[side] // seen[not side]) for side in (True, False)}
            differences.append(means[True] - means[False])
    return np.array(differences)


def _take(waiting: list[float], count: int) -> float:
    taken = waiting[: max(1, count)]
    del waiting[: len(taken)]
    return sum(taken) / len(taken)


def _log_path(differences: np.ndarray) -> np.ndarray:
    stakes, shares = np.concatenate([_THETA, -_THETA]), np.concatenate([_LOG_SHARE, _LOG_SHARE])
    wealth, paths = np.zeros(len(stakes)), []
    for part in np.array_split(differences, math.ceil(len(differences) * len(stakes) / ELEMENTS)):
        logs = wealth + np.log1p(part[:, None] * stakes).cumsum(axis=0)
        paths.append(logsumexp(logs + shares, axis=1))
        wealth = logs[-1]
    return np.concatenate(paths)


def _log_wealth(distinct: np.ndarray, counts: np.ndarray, mean: float) -> float:
    """Return the final log wealth against a mean between -1 and 1, of distinct differences `[k]` and their counts."""
    wealth, parts = np.empty((2, STAKES)), math.ceil(len(distinct) * STAKES / ELEMENTS)
    for side, stakes in enumerate((_THETA / (1 + mean), -_THETA / (1 - mean))):
        pieces = zip(np.array_split(distinct - mean, parts), np.array_split(counts, parts), strict=True)
        wealth[side] = np.sum([count @ np.log1p(gain[:, None] * stakes) for gain, count in pieces], axis=0)
    return float(logsumexp(wealth + _LOG_SHARE))
