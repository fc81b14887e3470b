"""Metrics of numbers: how golds and answers correlate."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.demands import Demanding
from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric

FLAT = 1e-13
"""A variance below this share of the mean square is rounding: the values are constant."""


def number_of(text: str) -> float:
    """Parse a number; NaN if the text is none.

    >>> number_of("3.5"), number_of("many")
    (3.5, nan)
    """
    try:
        return float(text)
    except ValueError:
        return math.nan


def numbers(golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
    """Parse golds and answers: `[rows, 2]`."""
    pairs = [(number_of(gold), number_of(p.text)) for gold, p in zip(golds, predictions, strict=True)]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what a correlation needs: `[rows, 6]`, 1, x, y, x², y², xy."""
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


class Correlation(UsualMetric, Demanding):
    """Base of the correlations, -1 to 1: undefined where all right answers are equal.

    Equal answers have 0, so that a contender that always says the mean can be ranked; scipy gives NaN.
    """

    unit_interval: ClassVar = False

    lack: ClassVar = msg("all right answers are the same number")

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute coefficients `[...]` of summed products `[..., 6]`; 0 where either side is constant."""
        n, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
        n = np.maximum(n, 1)
        wide_x, wide_y = xx - x * x / n, yy - y * y / n
        known = np.isnan(xy) | ((wide_x > FLAT * xx) & (wide_y > FLAT * yy))
        spread = np.sqrt(np.where(known, wide_x * wide_y, 1.0))
        return np.where(known, np.clip((xy - x * y / n) / spread, -1.0, 1.0), 0.0)
