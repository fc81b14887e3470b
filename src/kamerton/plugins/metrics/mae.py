"""Mean absolute error: how far off an answer is, in the unit of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._numbers import numbers
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones


class Mae:
    """Mean over rows of the distance between answer and gold number."""

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Measure each row: `[rows, 2]`, distance and 1."""
        gold, given = numbers(golds, predictions).T
        return scores_and_ones(np.abs(gold - given))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed distances `[..., 2]` into means `[...]`."""
        return mean(totals)
