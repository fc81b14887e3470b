"""Adafactor: one average for each row and each column of a matrix (Shazeer and Stern 2018), of transformers."""

from typing import ClassVar

import torch
from transformers.optimization import Adafactor as FactoredAdam

from kamerton.core.contracts import Advice, Trainable
from kamerton.core.messages import msg


class Adafactor:
    """Keep an average per row and per column of a matrix."""

    suitability: ClassVar = Advice(0.4, msg("almost no memory; T5's own, published at 0.3 for prompt tuning"))
    leaves_untouched: ClassVar = False
    """The averages of columns, and the size that updates are cut to, are over all rows."""

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Build transformers' own, so that the rate means the same as for AdamW.

        That is without scaling by the weights' size (Lester et al. 2021): low-rank pairs begin as zeros, and
        would hardly move.
        """
        return FactoredAdam(weights.groups(), lr=learning_rate, scale_parameter=False, relative_step=False)
