"""Mean absolute error: how far off an answer is, in the unit of the data."""

from __future__ import annotations

from typing import ClassVar

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean
from kamerton.plugins.metrics._numbers import number_of


class Mae(Mean):
    """Mean over rows of the distance between answer and gold number."""

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return the distance of a row."""
        return abs(number_of(gold) - number_of(prediction.text))
