"""ROUGE-L: the longest common subsequence of words, for summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from kamerton.metrics._rowwise import mean, scores_and_ones
from kamerton.records import Prediction
from kamerton.words import words


class AnyScript:
    """A tokenizer for rouge_score, whose own one drops every letter outside a-z."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text into folded words of any script."""
        return words(text)


class RougeL:
    """Mean over rows of the F1 of ROUGE-L (Lin 2004), rouge_score's, on `words.words` and without stemming."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, F1 and 1."""
        scorer = RougeScorer(["rougeL"], tokenizer=AnyScript())
        return scores_and_ones(
            float(scorer.score(gold, p.text)["rougeL"].fmeasure) for gold, p in zip(golds, predictions, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)
