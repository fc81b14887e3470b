"""Preference margin: how much likelier a model finds the chosen answer than the rejected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction

SMALLEST = 1e-300
"""Nats: below it the margin leaves double precision."""


class PreferenceMargin:
    """Mean of the log odds that the chosen answer is preferred.

    They are what the loss of a preference says, -log sigmoid(margin) (Bradley and Terry 1952). Rows without a loss are
    not counted; NaN if there is none with one.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, the margin in nats and 1."""
        rows = [(0.0, 0.0) if p.loss is None else (margin_of(p.loss), 1.0) for p in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed margins and rows `[..., 2]` into means `[...]`."""
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]


def margin_of(loss: float) -> float:
    """Undo loss = log(1 + exp(-margin)), in full precision on both sides."""
    small = max(loss, SMALLEST)
    return float(-small - np.log(-np.expm1(-small)))
