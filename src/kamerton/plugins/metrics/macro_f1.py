"""Macro F1: the mean of the classes' F1, each class counting the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._classes import class_counts, f1_scores


class MacroF1:
    """Mean F1 over the classes that are gold or predicted; what is never right scores 0.

    In a resample only its own classes count, so that `value` is always what scikit-learn's
    `f1_score(average="macro", zero_division=0)` says of the rows that were summed.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * classes]`."""
        return class_counts(golds, predictions)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3 * classes]` into scores `[...]`; NaN for no rows."""
        scores = f1_scores(totals)
        with np.errstate(invalid="ignore"):
            return np.nansum(scores, axis=-1) / np.isfinite(scores).sum(axis=-1)
