"""Pearson's correlation: how well answers and gold numbers lie on one line."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._numbers import Correlation, numbers, products


class Pearson(Correlation):
    """The linear correlation, -1 to 1; 0 where all answers are equal."""

    meaning: ClassVar = msg("How well answers and right numbers lie on one line, from −1 to 1.")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 6]`, of numbers from which their mean was taken, which changes nothing but digits."""
        pairs = numbers(golds, predictions)
        x, y = (pairs - pairs.mean(axis=0)).T if len(pairs) else pairs.T
        return products(x, y)
