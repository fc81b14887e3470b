"""Perplexity: how many equally likely tokens the model hesitates between at each token of the gold answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction

LARGEST = 700.0
"""Nats a token above which the exponential leaves double precision."""


class Perplexity:
    """The exponential of the mean loss over all tokens of the gold answers.

    Rows without a loss are not counted; NaN if there is none with one. Comparable only between
    models that share a tokenizer.
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
        """Turn summed losses and tokens `[..., 2]` into perplexities `[...]`."""
        with np.errstate(invalid="ignore"):
            return np.exp(np.minimum(totals[..., 0] / totals[..., 1], LARGEST))
