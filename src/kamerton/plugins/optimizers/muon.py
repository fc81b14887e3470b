"""Muon: the momentum of each matrix is made orthogonal (Jordan et al. 2024), torch's own; AdamW for all else."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from kamerton.core.contracts import Advice, Trainable
from kamerton.core.messages import msg


class Muon:
    """Update matrices equally in all directions; norms, biases, embeddings and stacks of matrices by AdamW."""

    suitability: ClassVar = Advice(0.5, msg("half of AdamW's memory; its gain is published for pretraining"))
    leaves_untouched: ClassVar = True
    """Embeddings are AdamW's."""

    def make(self, weights: Trainable, learning_rate: float) -> torch.optim.Optimizer:
        """Build torch's two, with matrix updates as large as AdamW's (Liu et al. 2025), so that its rates hold."""
        matrices = [parameter for parameter in weights.decaying if parameter.dim() == 2]
        stacks = [parameter for parameter in weights.decaying if parameter.dim() != 2]
        rest = Trainable(stacks, weights.others, weights.weight_decay)
        parts: list[torch.optim.Optimizer] = []
        if matrices:
            decay = weights.weight_decay
            parts.append(
                torch.optim.Muon(matrices, lr=learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )
        if rest.groups():
            parts.append(torch.optim.AdamW(rest.groups(), lr=learning_rate, fused=True))
        return Together(parts)


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups in a row, their states in one mapping."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the groups of each optimizer, as they are now: loading a state replaces them."""
        first = 0
        for part in self.parts:
            part.state = self.state
            part.param_groups = self.param_groups[first : first + len(part.param_groups)]
            first += len(part.param_groups)
            part.step()
        return closure() if closure else None
