"""Accuracy: the share of rows with the right label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones


class Accuracy:
    """Share of answers that are the gold label, letter by letter."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = True
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, right and 1."""
        return scores_and_ones(float(p.text == gold) for gold, p in zip(golds, predictions, strict=True))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 2]` into shares `[...]`."""
        return mean(totals)
