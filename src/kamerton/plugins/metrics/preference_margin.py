"""Preference margin: how much likelier a model finds the chosen answer than the rejected one."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Mean

SMALLEST = 1e-300
"""Nats: below it the margin leaves double precision."""


class PreferenceMargin(Mean):
    """Mean of the log odds that the chosen answer is preferred.

    They are what the loss of a preference says, -log sigmoid(margin) (Bradley and Terry 1952). Rows without a loss are
    not counted; NaN if there is none with one.
    """

    meaning: ClassVar = msg("How much likelier the model finds the better of two answers.")
    unit_interval: ClassVar = False

    def score(self, gold: str, prediction: Prediction) -> float | None:
        """Return the margin of a row in nats: undo loss = log(1 + exp(-margin)), in full precision on both sides."""
        if prediction.loss is None:
            return None
        loss = max(prediction.loss, SMALLEST)
        return float(-loss - np.log(-np.expm1(-loss)))
