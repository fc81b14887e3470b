"""Token accuracy: the share of words with the right tag."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Ratio
from kamerton.plugins.metrics._kinds import as_long
from kamerton.text.tags import read_list


class TokenAccuracy(Ratio):
    """Share of all words whose tag is the gold one; where most words are outside, it flatters."""

    meaning: ClassVar = msg("The share of words with the right tag.")

    def counts(self, gold: str, prediction: Prediction) -> tuple[float, float]:
        """Return the words with the right tag, and all words."""
        wanted = read_list(gold)
        given = as_long(read_list(prediction.text), len(wanted))
        return float(sum(one == other for one, other in zip(wanted, given, strict=True))), float(len(wanted))
