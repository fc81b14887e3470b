"""Sample F1: the mean over rows of each row's own F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._label_sets import f1_of_sums, label_counts


class SampleF1:
    """Mean F1 of the rows' labels, as scikit-learn's `f1_score(average="samples", zero_division=1)`.

    A row without labels that gets none scores 1.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, its F1 and 1."""
        scores = f1_of_sums(label_counts(golds, predictions).sum(axis=2))
        return np.stack([scores, np.ones(len(scores))], axis=1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`; NaN for no rows."""
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]
