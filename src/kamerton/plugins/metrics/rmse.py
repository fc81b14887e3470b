"""Root mean squared error: how far off an answer is, large errors counting more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._numbers import numbers
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones


class Rmse:
    """Root of the mean over rows of the squared distance between answer and gold number."""

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Measure each row: `[rows, 2]`, squared distance and 1."""
        gold, given = numbers(golds, predictions).T
        return scores_and_ones((gold - given) ** 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed squares `[..., 2]` into roots of means `[...]`."""
        return np.sqrt(mean(totals))
