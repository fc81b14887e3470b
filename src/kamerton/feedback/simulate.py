"""Simulate false alarms and power of tests that are looked at after every outcome."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import msg
from kamerton.statistics.sequential import log_e_values


@dataclass(frozen=True)
class Simulated:
    """Shares of simulated logs of one true difference in which tests find it."""

    difference: float
    found: float
    """By the anytime-valid test, at some look."""
    found_fixed: float
    """By an exact sign test, once, when the log is complete."""
    found_peeking: float
    """By that sign test, looked at after every outcome, which it does not allow."""
    median_look: int | None
    """Half of the found differences were found by this look."""


def simulate(
    difference: float, *, disagreement: float, looks: int, trials: int, confidence: float, seed: int
) -> Simulated:
    """Simulate logs of paired wins, ties and losses, looked at after every one.

    Args:
        difference: true share of wins minus share of losses.
        disagreement: share of wins and losses together.
        looks: outcomes in each log.
        trials: how many logs.
        confidence: such as 0.95.
        seed: of the draws.

    Raises:
        RecipeError: the difference is larger than the disagreement, or that is not a share.
    """
    if not abs(difference) <= disagreement <= 1:
        rule = "wins and losses are {disagreement} of the outcomes: they cannot differ by {difference}"
        remedy = msg("simulate a larger disagreement or a smaller difference")
        fault = Fault(msg(rule, disagreement=disagreement, difference=difference), "--disagreement", remedy)
        raise RecipeError(fault)
    drawn = np.random.default_rng(seed).random((trials, looks))
    win = (disagreement + difference) / 2
    outcomes = np.where(drawn < win, 1.0, np.where(drawn < disagreement, -1.0, 0.0))
    sure = log_e_values(outcomes) >= -math.log(1 - confidence)
    found = sure.any(axis=1)
    when = sure.argmax(axis=1)[found] + 1
    median = int(np.median(when)) if len(when) else None
    significant = _significant(outcomes, 1 - confidence)
    fixed, peeking = float(significant[:, -1].mean()), float(significant.any(axis=1).mean())
    return Simulated(difference, float(found.mean()), fixed, peeking, median)


def _significant(outcomes: np.ndarray, alpha: float) -> np.ndarray:
    """Return in which logs, after which outcomes, an exact sign test at level `alpha` finds a difference."""
    wins, losses = (outcomes > 0).cumsum(axis=1), (outcomes < 0).cumsum(axis=1)
    fewest = stats.binom.ppf(alpha / 2, np.arange(outcomes.shape[1] + 1), 0.5)  # fewer of either kind are significant
    passed: np.ndarray = np.minimum(wins, losses) < fewest[wins + losses]
    return passed
