"""Perplexity: how many equally likely tokens the model hesitates between at each token of the gold answer."""

from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.plugins.metrics.nll import Nll

LARGEST = 700.0
"""Nats per token above which the exponential leaves double precision."""


class Perplexity(Nll):
    """The exponential of the mean loss over all tokens of the gold answers.

    Rows without a loss are not counted; NaN if there is none with one. Comparable only between
    models that share a tokenizer.
    """

    meaning: ClassVar = msg(
        "Between how many equally likely tokens the model hesitates at each token of the right answer."
    )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Compute perplexities `[...]` of summed losses and tokens `[..., 2]`."""
        return np.exp(np.minimum(super().value(totals), LARGEST))
