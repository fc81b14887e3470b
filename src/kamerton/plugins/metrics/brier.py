"""Brier score: the squared distance of the probabilities of all classes from the truth."""

import math
from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean


class Brier(Mean):
    """Mean of Σ (p - y)² over all classes, halved, so that it lies between 0 and 1 (Brier 1950).

    With two classes it is the square of what the right one lacks to 1. It needs the probabilities of all
    classes; rows without them are not counted, and it is NaN if there is none with them. A right answer that is no
    known class has probability 0.
    """

    meaning: ClassVar = msg("The mean squared distance of the probabilities of all classes from what was right.")
    higher_is_better: ClassVar = False

    def score(self, gold: str, prediction: Prediction) -> float | None:
        """Return the halved squared distance of a row."""
        if prediction.probabilities is None:
            return None
        right = 0.0 if prediction.loss is None else math.exp(-prediction.loss)
        return (sum(p * p for p in prediction.probabilities) - 2 * right + 1) / 2
