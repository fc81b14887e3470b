"""Root mean squared error: how far off an answer is, large errors counting more."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Loss, Mean
from kamerton.plugins.metrics._numbers import number_of


class Rmse(Loss, Mean):
    """Root of the mean over rows of the squared distance between answer and gold number."""

    meaning: ClassVar = msg("How far off an answer is, in the unit of the data; large errors count more.")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the squared distance of a row."""
        distance = number_of(gold) - number_of(prediction.text)
        return distance * distance

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute roots of means `[...]` of summed squares `[..., 2]`."""
        return np.sqrt(super().value(totals))
