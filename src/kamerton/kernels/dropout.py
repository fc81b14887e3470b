"""Fast dropout on a CPU, where torch's own draws one element at a time and takes as long as the model.

Each element is dropped by 16 random bits. They come from SFC64 (Doty-Humphrey, PractRand), seeded for each call by
torch's generator: so torch's random state, which checkpoints hold, is all the state there is, and gradient
checkpointing draws the same bits again. The probability is rounded to 1/65536, and the rest is scaled by the rounded
one, so that the mean is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STEPS = 1 << 16
"""Number of probabilities that 16 bits can represent."""


@dataclass(frozen=True)
class Chance:
    """A dropout probability in steps of 1/65536."""

    steps: int

    @classmethod
    def of(cls, probability: float) -> Chance:
        """Round a probability below 1."""
        return cls(min(STEPS - 1, round(probability * STEPS)))

    @property
    def factor(self) -> float:
        """Scale of the kept elements, which preserves the mean."""
        return STEPS / (STEPS - self.steps)

    def kept(self, bits: np.ndarray) -> Tensor:
        """Return whether each element, of 16 bits read as a signed number, is kept: uint8, 1 or 0.

        NumPy compares, and the mask is no boolean: torch compares 16 bits slowly on a CPU, and a product with booleans
        takes forty times as long as one with floats.
        """
        return torch.from_numpy((bits >= self.steps - STEPS // 2).view(np.uint8))

    def drop(self, states: Tensor, kept: Tensor) -> Tensor:
        """Return states with dropped elements set to zero and kept ones scaled."""
        return (states * kept.to(states.dtype)).mul_(self.factor)


class Bits:
    """A stream of random bits, a function of a seed."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.SFC64(seed)

    def of(self, shape: Sequence[int]) -> np.ndarray:
        """Return the next 16 bits for each element: int16 of this shape."""
        count = int(np.prod(shape))
        raw = np.random.Generator(self._source).integers(0, 1 << 64, size=-(-count // 4), dtype=np.uint64)
        return raw.view(np.int16)[:count].reshape(shape)


def draw_seed() -> int:
    """Draw a seed from torch's generator."""
    return int(torch.randint(1 << 62, ()).item())


class Dropout(nn.Dropout):
    """Dropout with a fast mask on a CPU; elsewhere torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements while training."""
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropped.apply(input, Chance.of(self.p))
        return dropped


def use_fast_dropout(model: nn.Module) -> None:
    """Replace the dropout layers of a model by fast ones; saved files do not change."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set every dropout probability of a model: of its layers, and those that attention keeps as attributes."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        vars(module).update(dict.fromkeys(_probabilities(module), probability))


def drops(model: nn.Module) -> bool:
    """Return whether a model has dropout in training."""
    modules = list(model.modules())
    layers = any(isinstance(module, nn.Dropout) and module.p for module in modules)
    return layers or any(value for module in modules for value in _probabilities(module).values())


def _probabilities(module: nn.Module) -> dict[str, float]:
    return {
        name: value for name, value in vars(module).items() if name.endswith("dropout") and isinstance(value, float)
    }


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, chance: Chance) -> Tensor:
        kept = chance.kept(Bits(draw_seed()).of(states.shape))
        ctx.save_for_backward(kept)
        ctx.chance = chance
        return chance.drop(states, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient], [kept] = gradients, ctx.saved_tensors
        return ctx.chance.drop(gradient, kept), None
