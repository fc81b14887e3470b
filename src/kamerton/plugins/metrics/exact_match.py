"""Exact match: the share of answers that say the same, punctuation and case aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature
from kamerton.text.words import bare_answer


class ExactMatch:
    """Share of answers that equal the gold one once both are reduced by `words.bare_answer`."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = True
    signature: ClassVar = signature("exact-match", "refs:1", "norm:bare_answer")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, equal and 1."""
        return scores_and_ones(
            float(bare_answer(p.text, gold) == bare_answer(gold, gold))
            for gold, p in zip(golds, predictions, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 2]` into shares `[...]`."""
        return mean(totals)
