"""Exact match: the share of answers that equal the gold one, ignoring punctuation and case."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean, signature
from kamerton.text.words import bare_answer


class ExactMatch(Mean):
    """Share of answers that equal the gold one once both are reduced by `words.bare_answer`."""

    meaning: ClassVar = msg("The share of answers that equal the right one, whatever their case and punctuation.")
    per_row_binary: ClassVar = True
    signature: ClassVar = signature("exact-match", "refs:1", "norm:bare_answer")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return 1 for an equal answer."""
        return float(bare_answer(prediction.text, gold) == bare_answer(gold, gold))
