"""A higher learning rate, for training that hardly moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation


class HigherRate:
    """Train again at three times the rate."""

    treats: ClassVar = ("underfitting", "the weights do not move", "one answer to everything")
    trainings: ClassVar = 1.0

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Take three times the rate: the step of the usual grids."""
        return [{"train.learning_rate": float(f"{min(1.0, 3 * situation.learning_rate):.2g}")}]
