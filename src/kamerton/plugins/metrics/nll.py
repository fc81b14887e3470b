"""Negative log-likelihood of the right answer: a proper score of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean


class Nll:
    """Mean loss of a token of the right answer (of a class: of the one choice), in nats.

    Rows without a loss are not counted; NaN if there is none with one.
    """

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, loss in nats and tokens."""
        rows = [(0.0, 0.0) if p.loss is None or not p.tokens else (p.loss, float(p.tokens)) for p in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed losses and tokens `[..., 2]` into means `[...]`."""
        return mean(totals)
