"""SQuAD exact match: the share of answers that equal any of the accepted answers."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean, signature
from kamerton.text.tags import read_list
from kamerton.text.words import bare_answer


class SquadExactMatch(Mean):
    """Share of answers that equal an accepted one once both are reduced by `words.bare_answer` (a JSON list of texts).

    An empty text is accepted where there is no answer.
    """

    meaning: ClassVar = msg(
        "The share of answers that equal one of the accepted ones, whatever their case and punctuation."
    )
    per_row_binary: ClassVar = True
    signature: ClassVar = signature("squad-exact-match", "refs:best", "norm:bare_answer")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return 1 for an accepted answer."""
        accepted = read_list(gold) or [""]
        return float(any(bare_answer(prediction.text, one) == bare_answer(one, one) for one in accepted))
