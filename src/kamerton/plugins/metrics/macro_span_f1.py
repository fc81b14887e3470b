"""Macro span F1: the mean of the kinds' span F1, each kind counting the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._classes import f1_scores
from kamerton.plugins.metrics._spans import span_counts


class MacroSpanF1:
    """Mean F1 over the kinds of spans that are gold or predicted, as seqeval's macro average; 1 if there are none."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 3 * kinds]`."""
        return span_counts(golds, predictions)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 3 * kinds]` into scores `[...]`."""
        scores = f1_scores(totals)
        kinds = np.isfinite(scores).sum(axis=-1)
        return np.where(kinds > 0, np.nansum(scores, axis=-1) / np.maximum(kinds, 1), 1.0)
