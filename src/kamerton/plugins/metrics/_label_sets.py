"""Metrics of several labels per row as counts per label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction
from kamerton.text.tags import read_list


def label_counts(golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
    """Count each row: `[rows, 3, labels]`: right, gold, predicted; the labels are all that occur, sorted."""
    rows = [(set(read_list(gold)), set(read_list(p.text))) for gold, p in zip(golds, predictions, strict=True)]
    labels = sorted({label for row in rows for side in row for label in side})
    index = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(rows), 3, len(labels)))
    for row, (gold, given) in zip(counts, rows, strict=True):
        for block, side in enumerate((gold & given, gold, given)):
            row[block, [index[label] for label in side]] = 1
    return counts
