"""Metrics of classification as counts per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction


def class_counts(golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
    """Count each row: `[rows, 3 * classes]`, three blocks: right, gold, predicted, each one column per class.

    The classes are all that are gold or predicted anywhere in these rows, sorted.
    """
    answers = [prediction.text for prediction in predictions]
    index = {label: i for i, label in enumerate(sorted({*golds, *answers}))}
    gold = np.eye(len(index))[[index[label] for label in golds]]
    predicted = np.eye(len(index))[[index[label] for label in answers]]
    return np.concatenate([gold * predicted, gold, predicted], axis=1)


def f1_scores(totals: np.ndarray) -> np.ndarray:
    """Give each class's F1, 2 right / (gold + predicted): `[..., 3 * classes]` to `[..., classes]`.

    NaN for a class that is neither gold nor predicted.
    """
    right, gold, predicted = np.split(totals, 3, axis=-1)
    with np.errstate(invalid="ignore"):
        return 2 * right / (gold + predicted)
