"""ROUGE-2: how many pairs of neighbouring words of a summary are the gold one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rouge import rouge_scores
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature
from kamerton.text.words import words


class Rouge2:
    """Mean over rows of the F1 of pairs of words (Lin 2004), rouge_score's, on `words.words` and without stemming.

    Where neither text has a pair, being of one word, the words themselves are compared.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = signature("rouge2", "f1", "stem:no", "tok:words", package="rouge_score")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, F1 and 1."""
        pairs = rouge_scores("rouge2", golds, predictions)
        return scores_and_ones(
            float(words(gold) == words(p.text)) if _of_one_word(gold, p.text) else score
            for gold, p, score in zip(golds, predictions, pairs, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)


def _of_one_word(gold: str, text: str) -> bool:
    return len(words(gold)) == 1 and len(words(text)) == 1
