"""Arithmetic: matrix products in bf16 where the machine is faster at them, everything else in fp32.

Only the products of the pretrained matrices are rounded; their results are fp32 again before anything is
added. So the small updates of an adapter, whose own matrices stay fp32, are not lost in the sum: added to
a bf16 result, most of a change of 1e-3 would vanish. Weights, gradients and optimizer stay fp32.
"""

from __future__ import annotations

import platform
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kamerton.files import cache_folder, read_json, write_json
from kamerton.recipe import Decision

WORTH = 1.4
"""How much faster bf16 products must be to be worth their rounding."""
SHAPE = (768, 768, 2048)
"""Rows, inputs and outputs of the products that are timed: those of small models."""


class HalfLinear(nn.Linear):
    """A linear layer whose product is computed in bf16 while training, and in fp32 while evaluating."""

    def forward(self, x: Tensor) -> Tensor:
        """Give `[..., outputs]` of `[..., inputs]`, both in the input's own type."""
        if not self.training:
            return super().forward(x)
        product = linear(x.to(torch.bfloat16), self.weight.to(torch.bfloat16)).to(x.dtype)
        return product if self.bias is None else product + self.bias


def set_precision(model: nn.Module, precision: str) -> None:
    """Let a pretrained model's linear layers compute in `fp32` or `bf16`; layers added later are not touched."""
    if precision == "bf16":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = HalfLinear


def choose_precision() -> Decision:
    """Decide by what this machine really does."""
    ratio = round(speed("bf16") / speed("fp32"), 2)
    if ratio >= WORTH:
        return Decision("bf16", f"products in bf16 are {ratio:.1f} times as fast here; sums and weights stay fp32")
    return Decision("fp32", f"products in bf16 are {ratio:.1f} times as fast here: not worth the rounding")


def speed(precision: str) -> float:
    """Give the floating-point operations per second of this machine's products in `fp32` or `bf16`.

    They are timed once and kept in the user's cache folder, so that two runs on one machine decide alike however
    busy it is.
    """
    path = cache_folder() / f"products-{platform.node()}-{torch.__version__}.json"
    if not path.exists():
        write_json(path, _speeds())
    return float(read_json(path)[precision])


def _speeds() -> dict[str, float]:
    rows, inputs, outputs = SHAPE
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    work = 2.0 * rows * inputs * outputs
    halves = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    return {"fp32": work / _seconds(x, weight), "bf16": work / _seconds(*halves)}


def _seconds(x: Tensor, weight: Tensor) -> float:
    """Time the fastest of several products."""
    times = []
    for _ in range(12):
        began = time.perf_counter()
        linear(x, weight)
        times.append(time.perf_counter() - began)
    return min(times)
