"""AdamW with its two averages in 8 bits, in blocks of 256 (Dettmers et al. 2022), on the bitsandbytes library."""

from typing import ClassVar

import torch

from kamerton.core import registry
from kamerton.core.contracts import Advice, Trainable
from kamerton.core.messages import msg


class Adamw8bit:
    """Keep two averages for each weight, a byte each; weights of fewer than 4,096 entries keep theirs in fp32."""

    suitability: ClassVar = Advice(
        0.3, msg("a quarter of AdamW's memory, slower on a CPU; for large models trained whole")
    )
    leaves_untouched: ClassVar = False
    """A block's entries share their scale; which ones are in it depends on all rows before."""

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Build bitsandbytes' own. Raises `RecipeError` if it is not installed."""
        library = registry.require("bitsandbytes", "bitsandbytes")
        optimizer: torch.optim.Optimizer = library.optim.AdamW8bit(weights.groups(), lr=learning_rate)
        return optimizer
