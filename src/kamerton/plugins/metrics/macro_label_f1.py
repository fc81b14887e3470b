"""Macro label F1: the mean of the labels' F1, each label counting the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._classes import f1_scores
from kamerton.plugins.metrics._label_sets import label_counts


class MacroLabelF1:
    """Mean F1 over the labels that are gold or predicted, as scikit-learn's macro average; 1 if there are none."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * labels]`."""
        return label_counts(golds, predictions).reshape(len(golds), -1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3 * labels]` into scores `[...]`."""
        scores = f1_scores(totals)
        labels = np.isfinite(scores).sum(axis=-1)
        return np.where(labels > 0, np.nansum(scores, axis=-1) / np.maximum(labels, 1), 1.0)
