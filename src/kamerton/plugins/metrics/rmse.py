"""Root mean squared error: how far off an answer is, large errors counting more."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean
from kamerton.plugins.metrics._numbers import number_of


class Rmse(Mean):
    """Root of the mean over rows of the squared distance between answer and gold number."""

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the squared distance of a row."""
        distance = number_of(gold) - number_of(prediction.text)
        return distance * distance

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute roots of means `[...]` of summed squares `[..., 2]`."""
        return np.sqrt(super().value(totals))
