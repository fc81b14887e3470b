"""Adafactor: one average for each row and each column of a matrix (Shazeer and Stern 2018), of transformers."""

from __future__ import annotations

from typing import ClassVar

import torch
from transformers.optimization import Adafactor as FactoredAdam

from kamerton.core.contracts import Advice, Trainable


class Adafactor:
    """Keep next to nothing for each weight."""

    suitability: ClassVar = Advice(0.4, "next to no memory; T5's own, and 0.3 with it is published for prompt tuning")
    leaves_untouched: ClassVar = False
    """The averages of columns, and the size that updates are cut to, are over all rows."""

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Make transformers' own, so that the rate means what it does to AdamW.

        That is without scaling by the weights' size (Lester et al. 2021): low-rank pairs begin as zeros, and
        would hardly move.
        """
        return FactoredAdam(weights.groups(), lr=learning_rate, scale_parameter=False, relative_step=False)
