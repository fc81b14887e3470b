"""Feedback margin: how much likelier answers that people wanted are than others."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.demands import Demanding
from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric

SMALLEST = 1e-300
"""The least chance a token that a logarithm is taken of."""


ALIKE = msg("all answers were judged alike")


class FeedbackMargin(UsualMetric, Demanding):
    """Mean log-likelihood per token of wanted answers minus that of others, in nats.

    Rows whose answer was not judged are not counted. Where there is only one kind nothing is compared: it is undefined,
    and 0 in a resample.
    """

    meaning: ClassVar = msg("How much likelier to the model answers that people wanted are than others.")
    unit_interval: ClassVar = False
    lack: ClassVar = ALIKE

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 4]`, nats and 1 of a wanted answer, nats and 1 of another."""
        rows = np.zeros((len(predictions), 4))
        for row, p in zip(rows, predictions, strict=True):
            if p.wanted is not None and p.score is not None:
                row[slice(0, 2) if p.wanted else slice(2, 4)] = np.log(max(p.score, SMALLEST)), 1.0
        return rows

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 4]` into differences `[...]`."""
        rows = np.maximum(totals[..., [1, 3]], 1)
        both = (totals[..., [1, 3]] > 0).all(axis=-1)
        return np.where(both, totals[..., 0] / rows[..., 0] - totals[..., 2] / rows[..., 1], 0.0)
