"""Another method, with its own rate and epochs: the next most suitable one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation


class AnotherMethod:
    """Train again by the next most suitable method."""

    treats: ClassVar = ("underfitting", "forgetting", "one answer to everything")
    trainings: ClassVar = 1.5

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Choose the next method; leave open what its advice decides."""
        if not situation.other_methods:
            return []
        open_again = dict.fromkeys(("train.learning_rate", "train.epochs", "train.batch_size"))
        return [{"method.name": situation.other_methods[0], **open_again}]
