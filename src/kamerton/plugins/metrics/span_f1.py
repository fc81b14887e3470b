"""Span F1: how many spans are found, with both ends and the kind right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._spans import span_counts


class SpanF1:
    """Micro F1 over spans, strictly in IOB2 as seqeval's (Nakayama 2018); bare tags in a row are one span.

    Where there is nothing to find and nothing was found, 1.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3]`, spans that are right, gold, predicted."""
        counts = span_counts(golds, predictions)
        sums: np.ndarray = counts.reshape(len(counts), 3, -1).sum(axis=2)
        return sums

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3]` into scores `[...]`."""
        right, gold, predicted = np.moveaxis(totals, -1, 0)
        there = gold + predicted
        return np.where(there > 0, 2 * right / np.where(there > 0, there, 1), 1.0)
