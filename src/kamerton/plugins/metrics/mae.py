"""Mean absolute error: how far off an answer is, in the unit of the data."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Loss, Mean
from kamerton.plugins.metrics._numbers import number_of


class Mae(Loss, Mean):
    """Mean over rows of the distance between answer and gold number."""

    meaning: ClassVar = msg("How far off an answer is on average, in the unit of the data.")

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the distance of a row."""
        return abs(number_of(gold) - number_of(prediction.text))
