"""Span F1: how many spans are found, with both ends and the kind right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.plugins.metrics._classes import f1_of_sums
from kamerton.plugins.metrics._spans import span_counts


class SpanF1(UsualMetric):
    """Micro F1 over spans, strictly in IOB2 as seqeval's (Nakayama 2018); bare tags in a row are one span.

    1 where there is nothing to find and nothing was found.
    """

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3]`, spans that are right, gold, predicted."""
        return np.asarray(span_counts(golds, predictions).sum(axis=2))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute scores `[...]` of summed counts."""
        return f1_of_sums(totals)
