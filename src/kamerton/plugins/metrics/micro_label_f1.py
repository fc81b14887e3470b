"""Micro label F1: all labels of all rows counted together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.plugins.metrics._classes import f1_of_sums
from kamerton.plugins.metrics._label_sets import label_counts


class MicroLabelF1(UsualMetric):
    """F1 over all decisions for a label, as scikit-learn's `f1_score(average="micro")`; 1 if there are none."""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3]`, labels that are right, gold, predicted."""
        return np.asarray(label_counts(golds, predictions).sum(axis=2))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts."""
        return f1_of_sums(totals)
