"""Edit similarity: how much of a text need not be typed again."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean, signature


class EditSimilarity(Mean):
    """Mean over rows of 1 - (Levenshtein distance / length of the longer text), in characters; 1 for two empty texts.

    Unlike fuzzywuzzy's ratio, which CodeXGLUE reports, an exchange costs 1 like an insertion.
    """

    meaning: ClassVar = msg("How much of the right text need not be typed again when the answer is corrected.")
    signature: ClassVar = signature("edit-similarity", "unit:letter", "norm:none")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the similarity of a row."""
        return 1 - distance(gold, prediction.text) / max(1, len(gold), len(prediction.text))


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
