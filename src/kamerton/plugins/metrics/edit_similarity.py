"""Edit similarity: how much of a text need not be typed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature


class EditSimilarity:
    """Mean over rows of 1 - (Levenshtein distance / length of the longer text), in characters; 1 for two empty texts.

    Unlike fuzzywuzzy's ratio, which CodeXGLUE reports, an exchange costs 1 like an insertion.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = signature("edit-similarity", "unit:letter", "norm:none")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, similarity and 1."""
        return scores_and_ones(
            1 - distance(gold, p.text) / max(1, len(gold), len(p.text))
            for gold, p in zip(golds, predictions, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)


def distance(first: str, second: str) -> int:
    """Count the insertions, deletions and exchanges of characters that make one text of the other (Levenshtein).

    >>> distance("камертон", "камерный тон")
    4
    """
    letters = np.array([ord(letter) for letter in second], dtype=np.int64)
    at = np.arange(len(second) + 1)
    row = at
    for letter in first:
        new = row + 1
        new[1:] = np.minimum(new[1:], row[:-1] + (letters != ord(letter)))
        row = np.minimum.accumulate(new - at) + at  # insertions, each from the best place before
    return int(row[-1])
