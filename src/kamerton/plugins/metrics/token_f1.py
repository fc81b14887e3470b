"""Token F1: how many words of a short answer are right, as in SQuAD."""

from collections import Counter
from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean, signature
from kamerton.text.words import answer_words


class TokenF1(Mean):
    """Mean over rows of the F1 of bags of words (Rajpurkar et al. 2016), on `words.answer_words`."""

    meaning: ClassVar = msg("How many words of a short answer are right.")
    signature: ClassVar = signature("token-f1", "refs:1", "tok:answer_words", "norm:bare_answer")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the F1 of a row."""
        return word_f1(gold, prediction.text)


def word_f1(gold: str, text: str) -> float:
    """Return twice the shared words over all words; where one side is empty, 1 if both are (SQuAD 2.0)."""
    wanted, given = Counter(answer_words(gold, gold)), Counter(answer_words(text, gold))
    total = wanted.total() + given.total()
    return 2 * (wanted & given).total() / total if total else 1.0
