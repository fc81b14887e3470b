"""Pearson's correlation: how well answers and gold numbers lie on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._numbers import correlation, numbers, products


class Pearson:
    """The linear correlation, -1 to 1; 0 where either side is constant."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 6]`, of numbers from which their mean was taken, which changes nothing but digits."""
        pairs = numbers(golds, predictions)
        x, y = (pairs - pairs.mean(axis=0)).T if len(pairs) else pairs.T
        return products(x, y)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed products `[..., 6]` into coefficients `[...]`."""
        return correlation(totals)
