"""Brier score: the squared distance of the probabilities of all classes from the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean


class Brier:
    """Mean of Σ (p - y)² over all classes, halved, so that it lies between 0 and 1 (Brier 1950).

    With two classes it is the square of what was missing from the right one. It needs the probabilities of all
    classes; rows without them are not counted, and it is NaN if there is none with them. A right answer that is no
    known class has probability 0.
    """

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, halved squared distance and 1."""
        return np.array([_row(prediction) for prediction in predictions], dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed distances and rows `[..., 2]` into means `[...]`."""
        return mean(totals)


def _row(prediction: Prediction) -> tuple[float, float]:
    if prediction.probabilities is None:
        return 0.0, 0.0
    right = 0.0 if prediction.loss is None else math.exp(-prediction.loss)
    return (sum(p * p for p in prediction.probabilities) - 2 * right + 1) / 2, 1.0
