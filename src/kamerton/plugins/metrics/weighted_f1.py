"""Weighted F1: the mean of the classes' F1, each class counting by its rows."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.plugins.metrics._classes import ClassCounts, f1_scores


class WeightedF1(ClassCounts):
    """Mean F1 weighted by how often a class is gold: scikit-learn's `f1_score(average="weighted")`."""

    meaning: ClassVar = msg("The mean over classes of F1, each class counting by its number of rows.")

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts `[..., 3 * classes]`; NaN for no rows."""
        _, gold, _ = np.split(totals, 3, axis=-1)
        with np.errstate(invalid="ignore"):
            return np.nansum(gold * f1_scores(totals), axis=-1) / gold.sum(axis=-1)
