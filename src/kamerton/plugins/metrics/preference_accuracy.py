"""Preference accuracy: how often a model finds the better of two answers likelier."""

from __future__ import annotations

from typing import ClassVar

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean


class PreferenceAccuracy(Mean):
    """Share of rows in which the preferred answer is exactly the chosen one."""

    per_row_binary: ClassVar = True

    def score(self, gold: str, prediction: Prediction) -> float:
        """Return 1 for the chosen answer."""
        return float(prediction.text == gold)
