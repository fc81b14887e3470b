"""Weighted F1: the mean of the classes' F1, each class counting by its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._classes import class_counts, f1_scores


class WeightedF1:
    """Mean F1 weighted by how often a class is gold: scikit-learn's `f1_score(average="weighted")`."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * classes]`."""
        return class_counts(golds, predictions)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3 * classes]` into scores `[...]`; NaN for no rows."""
        _, gold, _ = np.split(totals, 3, axis=-1)
        with np.errstate(invalid="ignore"):
            return np.nansum(gold * f1_scores(totals), axis=-1) / gold.sum(axis=-1)
