"""Power: the difference that a number of rows detects, and the rows that a difference needs."""

import math

from scipy import stats

from kamerton.core.outcomes import Comparison
from kamerton.statistics.resampling import NOTHING

FEWEST = 6
"""With fewer rows no paired test reaches 5%: five rows all one way still have p = 2 / 2**5 = 0.06."""
Z_ALPHA = float(stats.norm.isf(0.025))
Z_POWER = float(stats.norm.isf(0.20))


def detectable_share(disagreement: float, rows: int) -> float:
    """Return the smallest difference of two shares that McNemar's test detects with 80% power at the 5% level.

    Connor (1987): rows · d² = (z_α √ψ + z_β √(ψ − d²))², solved for the difference d. Where the observed share of
    disagreement ψ is smaller than such a difference, ψ = d, and d = (z_α + z_β)² / rows, which errs on the safe side.

    Args:
        disagreement: ψ, the share of rows that only one of the two has right.
        rows: rows that both answered.
    """
    square = rows - Z_ALPHA**2 + Z_POWER**2
    if square > 0:
        spread = math.sqrt(disagreement) * (Z_ALPHA * math.sqrt(rows) + Z_POWER * math.sqrt(square))
        difference = spread / (rows + Z_POWER**2)
        if 0 < difference <= disagreement:
            return difference
    return min(1.0, (Z_ALPHA + Z_POWER) ** 2 / rows)


def detectable_score(error: float, rows: int) -> float:
    """Return the smallest difference of two scores that is detected with 80% power at the 5% level."""
    freedom = max(1, rows - 1)
    return float(stats.t.isf(0.025, freedom) + stats.t.isf(0.20, freedom)) * error


def rows_for_share(difference: float, disagreement: float) -> int:
    """Return the rows that McNemar's test needs to detect a difference of two shares with 80% power at the 5% level.

    Connor (1987): rows = (z_α √ψ + z_β √(ψ − d²))² / d².

    Args:
        difference: d, not 0, up to 1 either way.
        disagreement: ψ, the share of rows that only one of the two has right; taken as d where it is smaller.
    """
    d, disagreement = abs(difference), max(disagreement, abs(difference))
    return math.ceil(((Z_ALPHA * math.sqrt(disagreement) + Z_POWER * math.sqrt(disagreement - d**2)) / d) ** 2)


def rows_for_score(difference: float, detectable: float, rows: int) -> int:
    """Return how many rows like these would detect a difference, not 0, with 80% power at the 5% level.

    The difference that these rows detect shrinks with the square root of their number.
    """
    return math.ceil(rows * (detectable / difference) ** 2)


def rows_needed(comparison: Comparison, rows: int) -> int | None:
    """Estimate the rows that would detect the observed difference with 80% power; None if there is none."""
    if abs(comparison.difference) < NOTHING:
        return None
    return max(rows, rows_for_score(comparison.difference, comparison.minimum_detectable, rows))
