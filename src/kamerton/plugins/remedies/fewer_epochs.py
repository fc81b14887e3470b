"""Fewer epochs: the schedule falls to zero about where the validation loss was best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation


class FewerEpochs:
    """Train again up to where the validation loss was best."""

    treats: ClassVar = ("overfitting",)
    trainings: ClassVar = 0.7

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """End with the epoch of the least validation loss, if that was not the last."""
        if not situation.validations:
            return []
        best = min(situation.validations, key=lambda event: event.loss).epoch
        return [{"train.epochs": round(best, 2)}] if 0 < round(best, 2) < situation.epochs else []
