"""Macro label F1: the mean of the labels' F1, each label counting the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.plugins.metrics._classes import macro_f1
from kamerton.plugins.metrics._label_sets import label_counts


class MacroLabelF1(UsualMetric):
    """Mean F1 over the labels that are gold or predicted, as scikit-learn's macro average; 1 if there are none."""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * labels]`."""
        return label_counts(golds, predictions).reshape(len(golds), -1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts."""
        return macro_f1(totals)
