"""The weights of an earlier validation: training is repeated, to the same weights, and stops there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation


class EarlierCheckpoint:
    """Stop at the validation before the best one."""

    treats: ClassVar = ("forgetting", "overfitting")
    trainings: ClassVar = 0.5

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Stop at the validation that stands about halfway to the best one."""
        best = max((event.step for event in situation.validations if event.best), default=0)
        earlier = [event.step for event in situation.validations if event.step < best]
        return [{"remedy.last_step": min(earlier, key=lambda step: abs(step - best / 2))}] if earlier else []
