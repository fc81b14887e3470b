"""Matthews' correlation coefficient: agreement beyond chance, whatever the classes' sizes."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.plugins.metrics._classes import ClassCounts


class Mcc(ClassCounts):
    """The correlation of gold and predicted classes, -1 to 1, for any number of classes (Gorodkin 2004).

    0 where all answers are the same, as in scikit-learn's `matthews_corrcoef`.
    """

    meaning: ClassVar = msg(
        "Agreement with the right classes beyond chance, from −1 to 1; no class can make it high alone."
    )
    unit_interval: ClassVar = False

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute coefficients `[...]` of summed counts `[..., 3 * classes]`."""
        right, gold, predicted = np.split(totals, 3, axis=-1)
        rows = gold.sum(axis=-1)
        covariance = right.sum(axis=-1) * rows - (gold * predicted).sum(axis=-1)
        spread = (rows**2 - (gold**2).sum(axis=-1)) * (rows**2 - (predicted**2).sum(axis=-1))
        return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
