"""Dropout: noise in training keeps a model from memorizing its rows (Srivastava et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kamerton.core.contracts import Situation

MORE = 0.1


class MoreDropout:
    """Train again with a tenth more dropout."""

    treats: ClassVar = ("overfitting",)
    trainings: ClassVar = 1.0

    def changes(self, situation: Situation) -> Sequence[Mapping[str, object]]:
        """Raise it by a tenth, up to a half."""
        return [{"train.dropout": round(situation.dropout + MORE, 2)}] if situation.dropout + MORE <= 0.5 else []
