"""Tests that may be looked at after every outcome: betting e-processes and confidence sequences.

The outcomes are differences from -1 to 1, one after another: what one arm got minus what the other got. A gambler
who is offered fair bets cannot grow rich if the mean difference is m: with a stake λ that was fixed beforehand his
wealth is the product of 1 + λ (difference - m). The e-value is the wealth of many gamblers with stakes spread evenly
from one extreme to the other, averaged. By Ville's inequality it ever reaches 1 / α with probability α at most if
the claim is true, however often one looks and whenever one stops.

- For m = 0 and wins, ties and losses (1, 0, -1) the average is exact: 2^(w+l) B(1+w, 1+l).
- The confidence sequence holds every m at which the wealth is below 1 / α. The wealth is log-convex in m, so that is
  an interval. (With stakes θ/(1+m) and -θ/(1-m), θ from 0 to 1, each factor is log-convex in m, and so are products
  and averages of such.)

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2024; Robbins 1970.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaln, logsumexp

from kamerton.core.outcomes import Measure

STAKES = 128
"""Gamblers on either side where there is no closed form. Any number of them makes a fair bet; more lose less."""
ELEMENTS = 2_000_000
"""Entries of a table of wealth that are held at once."""
STEPS = 40
"""Halvings in the search for an end of the interval: to rounding."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(STAKES)
_THETA, _LOG_SHARE = (_NODES + 1) / 2, np.log(_WEIGHTS / 4)  # stakes in 0 to 1; half of the gamblers on either side


def log_e_values(differences: np.ndarray) -> np.ndarray:
    """Give the logarithm of the e-value against "the mean difference is 0" after each outcome: `[..., n]`.

    Args:
        differences: `[..., n]`, each -1 to 1, in the order in which they came.

    """
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        wins, losses = (differences > 0).cumsum(axis=-1), (differences < 0).cumsum(axis=-1)
        return (wins + losses) * math.log(2) + betaln(1 + wins, 1 + losses)
    return np.array([_log_path(row) for row in np.atleast_2d(differences)]).reshape(differences.shape)


def confidence_sequence(differences: np.ndarray, confidence: float) -> Measure:
    """Give the mean difference with an interval that holds the true one at every look, past and future.

    Args:
        differences: `[n]`, each -1 to 1, at least one.
        confidence: such as 0.95.

    """
    distinct, counts = np.unique(differences, return_counts=True)
    mean, limit = float(differences.mean()), -math.log(1 - confidence)

    def end(possible: float) -> float:
        """Search between what is impossible and the mean, where the wealth is below the limit."""
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
    """Make differences of outcomes from two arms that are not paired: each of one arm minus its share of the other.

    Each outcome of the arm that has fewer is set against the mean of as many of the other's waiting outcomes as the
    whole number of times that arm was ahead so far, at least one. How many depends only on which arm each outcome
    fell to, so that the mean of every difference is the difference of the arms, as long as the arms are drawn without
    regard to outcomes. What still waits at the end is not used.

    Args:
        in_first: whether each outcome is the first arm's; else it is the second's.
        outcomes: each 0 to 1, in the order in which they came.

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
    """Take up to `count` waiting outcomes, at least one, the oldest first; give their mean."""
    taken = waiting[: max(1, count)]
    del waiting[: len(taken)]
    return sum(taken) / len(taken)


def _log_path(differences: np.ndarray) -> np.ndarray:
    """Follow the wealth of all gamblers against a mean of 0."""
    stakes, shares = np.concatenate([_THETA, -_THETA]), np.concatenate([_LOG_SHARE, _LOG_SHARE])
    wealth, paths = np.zeros(len(stakes)), []
    for part in np.array_split(differences, math.ceil(len(differences) * len(stakes) / ELEMENTS)):
        logs = wealth + np.log1p(part[:, None] * stakes).cumsum(axis=0)
        paths.append(logsumexp(logs + shares, axis=1))
        wealth = logs[-1]
    return np.concatenate(paths)


def _log_wealth(distinct: np.ndarray, counts: np.ndarray, mean: float) -> float:
    """Give the logarithm of all gamblers' wealth in the end, against any mean.

    Args:
        distinct: `[k]`, the differences that occur.
        counts: `[k]`, how often.
        mean: what is claimed, above -1 and below 1.

    """
    wealth = np.empty((2, STAKES))
    for side, stakes in enumerate((_THETA / (1 + mean), -_THETA / (1 - mean))):
        wealth[side] = _summed_logs(distinct - mean, counts, stakes)
    return float(logsumexp(wealth + _LOG_SHARE))


def _summed_logs(gains: np.ndarray, counts: np.ndarray, stakes: np.ndarray) -> np.ndarray:
    parts = math.ceil(len(gains) * len(stakes) / ELEMENTS)
    pieces = zip(np.array_split(gains, parts), np.array_split(counts, parts), strict=True)
    return np.sum([count @ np.log1p(gain[:, None] * stakes) for gain, count in pieces], axis=0)
