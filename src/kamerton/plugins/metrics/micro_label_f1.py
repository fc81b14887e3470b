"""Micro label F1: all labels of all rows counted together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._label_sets import f1_of_sums, label_counts


class MicroLabelF1:
    """F1 over all decisions for a label, as scikit-learn's `f1_score(average="micro")`; 1 if there are none."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3]`, labels that are right, gold, predicted."""
        sums: np.ndarray = label_counts(golds, predictions).sum(axis=2)
        return sums

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3]` into scores `[...]`."""
        return f1_of_sums(totals)
