"""Accuracy: the share of rows with the right label."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean


class Accuracy(Mean):
    """Share of answers that are exactly the gold label."""

    meaning: ClassVar = msg("The share of rows whose label is right.")
    per_row_binary: ClassVar = True

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return 1 for the gold label."""
        return float(prediction.text == gold)
