"""Weight decay: it pulls unimportant weights back to zero (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation

LEAST = 0.05


class MoreWeightDecay:
    """Train again with more weight decay."""

    treats: ClassVar = ("overfitting",)
    trainings: ClassVar = 1.0

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Take five times as much, 0.05 at least."""
        return [{"train.weight_decay": max(LEAST, 5 * situation.weight_decay)}]
