"""ROUGE-1: how many words of a summary are the gold one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rouge import rouge_scores
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature


class Rouge1:
    """Mean over rows of the F1 of single words (Lin 2004), rouge_score's, on `words.words` and without stemming."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = signature("rouge1", "f1", "stem:no", "tok:words", package="rouge_score")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, F1 and 1."""
        return scores_and_ones(rouge_scores("rouge1", golds, predictions))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)
