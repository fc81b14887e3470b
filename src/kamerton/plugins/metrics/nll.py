"""Negative log-likelihood of the right answer: a proper score of probabilities."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import Loss, Ratio


class Nll(Loss, Ratio):
    """Mean loss per token of the right answer (of a class: of the one choice), in nats.

    Rows without a loss are not counted; NaN if there is none with one.
    """

    meaning: ClassVar = msg("How surprised the model is by the right answers, in nats.")

    def counts(self, gold: str, prediction: Prediction) -> tuple[float, float]:
        """Return loss in nats and tokens."""
        if prediction.loss is None or not prediction.tokens:
            return 0.0, 0.0
        return prediction.loss, float(prediction.tokens)
