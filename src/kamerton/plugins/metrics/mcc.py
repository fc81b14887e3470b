"""Matthews' correlation coefficient: agreement beyond chance, whatever the classes' sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._classes import class_counts


class Mcc:
    """The correlation of gold and predicted classes, -1 to 1, for any number of classes (Gorodkin 2004).

    0 where either is constant, as in scikit-learn's `matthews_corrcoef`.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * classes]`."""
        return class_counts(golds, predictions)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3 * classes]` into coefficients `[...]`."""
        right, gold, predicted = np.split(totals, 3, axis=-1)
        rows = gold.sum(axis=-1)
        covariance = right.sum(axis=-1) * rows - (gold * predicted).sum(axis=-1)
        spread = (rows**2 - (gold**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
        return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
