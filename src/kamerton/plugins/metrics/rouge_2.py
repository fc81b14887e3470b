"""ROUGE-2: how many pairs of neighboring words of a summary are the gold one's."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import signature
from kamerton.plugins.metrics._rouge import Rouge
from kamerton.text.words import words


class Rouge2(Rouge):
    """Mean over rows of the F1 of pairs of words (Lin 2004), rouge_score's, on `words.words` and without stemming.

    Where neither text has a pair, being of one word, the words themselves are compared.
    """

    meaning: ClassVar = msg(
        "How many pairs of neighboring words of a summary are in the right one, and the other way round."
    )
    kind: ClassVar = "rouge2"
    signature: ClassVar = signature("rouge2", "f1", "stem:no", "tok:words", package="rouge_score")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the F1 of a row."""
        own, given = words(gold), words(prediction.text)
        return float(own == given) if len(own) == len(given) == 1 else super().score(gold, prediction)
