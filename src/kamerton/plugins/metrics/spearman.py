"""Spearman's correlation: how well the answers put the rows in order."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.stats import rankdata

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._numbers import Correlation, numbers, products


class Spearman(Correlation):
    """The correlation of ranks, -1 to 1; 0 where all answers are equal.

    Ranks are those among all rows, the mean of ties. A resample keeps them: its value is the correlation of these
    ranks, which comes near to that of ranks counted anew, while the value of all rows is exactly scipy's.
    """

    meaning: ClassVar = msg("How well the answers put the rows in the right order, from −1 to 1.")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 6]`; each contender's answers are ranked among themselves."""
        pairs = numbers(golds, predictions)
        firsts = [i for i, prediction in enumerate(predictions) if prediction.id == predictions[0].id]
        parts = np.split(pairs, firsts[1:]) if firsts else []  # where the first row comes again, another one begins
        return np.concatenate([products(*pairs[:0].T), *(products(*_ranks(part).T) for part in parts)])


def _ranks(pairs: np.ndarray) -> np.ndarray:
    """Rank both columns, from -1/2 to 1/2: `[rows, 2]`."""
    ranks: np.ndarray = (rankdata(pairs, axis=0, nan_policy="propagate") - (len(pairs) + 1) / 2) / len(pairs)
    return ranks
