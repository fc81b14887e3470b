"""SQuAD F1: how many words of an answer are right, compared with the nearest of the accepted answers."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean, signature
from kamerton.plugins.metrics.token_f1 import word_f1
from kamerton.text.tags import read_list


class SquadF1(Mean):
    """Mean over rows of the best F1 of bags of words with any accepted answer (Rajpurkar et al. 2016, 2018).

    Gold answers are a JSON list of texts; an empty text is accepted where there is no answer.
    """

    meaning: ClassVar = msg("How many words of an answer are right, beside the nearest of the accepted answers.")
    signature: ClassVar = signature("squad-f1", "refs:best", "tok:answer_words", "norm:bare_answer")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the best F1 of a row."""
        return max((word_f1(one, prediction.text) for one in read_list(gold)), default=float(not prediction.text))
