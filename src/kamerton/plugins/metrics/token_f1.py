"""Token F1: how many words of a short answer are right, as in SQuAD."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature
from kamerton.text.words import answer_words


class TokenF1:
    """Mean over rows of the F1 of bags of words (Rajpurkar et al. 2016), on `words.answer_words`."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = signature("token-f1", "refs:1", "tok:answer_words", "norm:bare_answer")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, F1 and 1."""
        return scores_and_ones(word_f1(gold, p.text) for gold, p in zip(golds, predictions, strict=True))

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)


def word_f1(gold: str, text: str) -> float:
    """Twice the shared words over all words; where one side is empty, 1 if both are (SQuAD 2.0)."""
    wanted, given = Counter(answer_words(gold, gold)), Counter(answer_words(text, gold))
    total = wanted.total() + given.total()
    return 2 * (wanted & given).total() / total if total else 1.0
