"""More epochs, for training that ended while it still learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation


class MoreEpochs:
    """Train again for twice as long."""

    treats: ClassVar = ("underfitting", "stopped too early", "too few updates")
    trainings: ClassVar = 2.0

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Double the epochs."""
        return [{"train.epochs": 2 * situation.epochs}]
