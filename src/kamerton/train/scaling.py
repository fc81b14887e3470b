"""Scales of losses for products in fp16, where small gradients would become zeros (Micikevicius et al. 2018, 3.2).

The loss is multiplied by a power of two before the backward pass, and gradients are divided by it: exactly, unless they
overflow. Then the update is skipped, and the scale halved; after many updates without, it is doubled. The numbers are
the defaults of `torch.amp.GradScaler`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from kamerton.train.checkpoint import TrainState

FIRST, FACTOR, CALM = 2.0**16, 2.0, 2000
"""The first scale, what it changes by, and the updates after which it grows."""


def unscale(weights: Iterable[Tensor], scale: float) -> None:
    """Divide gradients by a scale."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if scale != 1 and gradients:
        torch._foreach_mul_(gradients, 1 / scale)


def grow(state: TrainState) -> None:
    """Count an update whose gradients were finite; double the scale after many."""
    if state.scale != 1:
        state.calm += 1
        if state.calm >= CALM:
            state.scale, state.calm = state.scale * FACTOR, 0


def shrink(state: TrainState) -> bool:
    """Halve the scale; return False if losses are not scaled, or no more."""
    if state.scale <= 1:
        return False
    state.scale, state.calm = state.scale / FACTOR, 0
    return True
