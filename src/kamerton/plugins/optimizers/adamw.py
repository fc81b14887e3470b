"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), torch's fused one."""

from typing import ClassVar

import torch

from kamerton.core.contracts import Advice, Trainable
from kamerton.core.messages import msg


class Adamw:
    """Keep two averages for each weight."""

    suitability: ClassVar = Advice(0.9, msg("AdamW: what the methods' default rates were published for"))
    leaves_untouched: ClassVar = True

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Build torch's own AdamW; it corrects its bias, which small data needs (Zhang et al. 2021)."""
        return torch.optim.AdamW(weights.groups(), lr=learning_rate, fused=True)
