"""Dropout that costs little on a CPU: torch's own draws each element by itself there, which takes as long as the model.

Each element is dropped by 16 random bits of its own. The bits are those of SFC64 (Doty-Humphrey, PractRand),
begun anew for each call from a seed that torch's generator draws: so torch's random state, which checkpoints
hold, is all the state there is, and gradient checkpointing draws the same bits again. The probability is
rounded to 1/65536 and what stays is scaled by the rounded one, so that the mean is kept exactly.
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
"""Probabilities that 16 bits can tell apart."""


@dataclass(frozen=True)
class Chance:
    """A probability in steps of 1/65536, and the factor that keeps the mean."""

    steps: int

    @classmethod
    def of(cls, probability: float) -> Chance:
        """Round a probability below 1."""
        return cls(min(STEPS - 1, round(probability * STEPS)))

    @property
    def factor(self) -> float:
        """What the elements that stay are multiplied by."""
        return STEPS / (STEPS - self.steps)

    def kept(self, bits: np.ndarray) -> Tensor:
        """Say of each 16 bits, read as a signed number, whether their element stays: uint8, 1 or 0.

        NumPy compares, and products are with numbers: torch has no fast way on a CPU for 16 bits or for booleans, a
        product with which takes forty times as long as one with floats.
        """
        return torch.from_numpy((bits >= self.steps - STEPS // 2).view(np.uint8))

    def drop(self, states: Tensor, kept: Tensor) -> Tensor:
        """Give new states: zero where they are dropped, larger where they stay."""
        return (states * kept.to(states.dtype)).mul_(self.factor)


class Bits:
    """Random bits in a row that is a function of a seed."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.SFC64(seed)

    @classmethod
    def drawn(cls) -> Bits:
        """Begin where torch's generator says."""
        return cls(draw_seed())

    def of(self, shape: Sequence[int]) -> np.ndarray:
        """Give the next 16 bits for each element: int16 of this shape."""
        count = int(np.prod(shape))
        raw = np.random.Generator(self._source).integers(0, 1 << 64, size=-(-count // 4), dtype=np.uint64)
        return raw.view(np.int16)[:count].reshape(shape)


def draw_seed() -> int:
    """Draw a seed from torch's generator."""
    return int(torch.randint(1 << 62, ()).item())


class Dropout(nn.Dropout):
    """Dropout whose mask costs little on a CPU; elsewhere torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements while training."""
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropped.apply(input, Chance.of(self.p))
        return dropped


def use_cheap_dropout(model: nn.Module) -> None:
    """Let the dropout layers of a model draw their masks as this module does. Nothing of it is saved."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set every dropout of a model: its layers', and the ones that attention reads from the configuration."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        vars(module).update(dict.fromkeys(_probabilities(module), probability))


def drops(model: nn.Module) -> bool:
    """Say whether a model drops anything at random while it trains."""
    modules = list(model.modules())
    layers = any(isinstance(module, nn.Dropout) and module.p for module in modules)
    return layers or any(value for module in modules for value in _probabilities(module).values())


def _probabilities(module: nn.Module) -> dict[str, float]:
    """Give a module's own numbers that are probabilities to drop something, by their name."""
    return {
        name: value for name, value in vars(module).items() if name.endswith("dropout") and isinstance(value, float)
    }


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, chance: Chance) -> Tensor:
        kept = chance.kept(Bits.drawn().of(states.shape))
        ctx.save_for_backward(kept)
        ctx.chance = chance
        return chance.drop(states, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient], [kept] = gradients, ctx.saved_tensors
        return ctx.chance.drop(gradient, kept), None
