"""Metrics that are the mean of a score per row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def scores_and_ones(scores: Iterable[float]) -> np.ndarray:
    """Make statistics of scores per row: `[rows, 2]`, the score and 1."""
    column = np.fromiter(scores, dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def mean(totals: np.ndarray) -> np.ndarray:
    """Divide the summed scores by the summed ones: `[..., 2]` to `[...]`; NaN for no rows."""
    with np.errstate(invalid="ignore"):
        return totals[..., 0] / totals[..., 1]
