"""Metrics of classification as counts per class."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.demands import Demanding
from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric


class ClassCounts(UsualMetric, Demanding):
    """Base of the metrics of the classes that are gold or predicted in any of the rows: undefined for one gold class.

    scikit-learn gives numbers there: an MCC of 0, and an F1 of 1 to whoever always names that class.
    """

    lack: ClassVar = msg("all rows are of one class")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * classes]`, three blocks: right, gold, predicted; the classes are sorted."""
        answers = [prediction.text for prediction in predictions]
        index = {label: i for i, label in enumerate(sorted({*golds, *answers}))}
        gold = np.eye(len(index))[[index[label] for label in golds]]
        predicted = np.eye(len(index))[[index[label] for label in answers]]
        return np.concatenate([gold * predicted, gold, predicted], axis=1)


def f1_scores(totals: np.ndarray) -> np.ndarray:
    """Return each class's F1, 2 right / (gold + predicted): `[..., 3 * classes]` to `[..., classes]`.

    NaN for a class that is neither gold nor predicted.
    """
    right, gold, predicted = np.split(totals, 3, axis=-1)
    with np.errstate(invalid="ignore"):
        return 2 * right / (gold + predicted)


def macro_f1(totals: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the classes that occur, `[..., 3 * classes]` to `[...]`; 1 if there are none."""
    scores = f1_scores(totals)
    classes = np.isfinite(scores).sum(axis=-1)
    return np.where(classes > 0, np.nansum(scores, axis=-1) / np.maximum(classes, 1), 1.0)


def f1_of_sums(totals: np.ndarray) -> np.ndarray:
    """Return F1 of right, gold and predicted, `[..., 3]` to `[...]`; 1 where there is nothing to find or found."""
    right, gold, predicted = np.moveaxis(totals, -1, 0)
    both = gold + predicted
    return np.where(both > 0, 2 * right / np.where(both > 0, both, 1), 1.0)
