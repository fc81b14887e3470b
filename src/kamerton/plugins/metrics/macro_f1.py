"""Macro F1: the mean of the classes' F1, each class counting the same."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.plugins.metrics._classes import ClassCounts, f1_scores


class MacroF1(ClassCounts):
    """Mean F1 over the classes that are gold or predicted; a class that is never right scores 0.

    In a resample only its own classes count, so that `value` always equals scikit-learn's
    `f1_score(average="macro", zero_division=0)` of the rows that were summed.
    """

    meaning: ClassVar = msg(
        "The mean over classes of F1, which needs both precision and recall; rare classes count as much as common ones."
    )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts `[..., 3 * classes]`; NaN for no rows."""
        scores = f1_scores(totals)
        with np.errstate(invalid="ignore"):
            return np.nansum(scores, axis=-1) / np.isfinite(scores).sum(axis=-1)
