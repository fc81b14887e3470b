"""Arithmetic: matrix products in bf16 where the machine is faster at them, everything else in fp32.

Only the products of the pretrained matrices are rounded; their results are fp32 again before anything is
added. So the small updates of an adapter, whose own matrices stay fp32, are not lost in the sum: added to
a bf16 result, most of a change of 1e-3 would vanish. Weights, gradients and optimizer stay fp32.

What is only read is read in fp32, for answers must not depend on the machine. Tried on SmolLM2 with prompts of 1,300
tokens, bf16 reading took two thirds of the time, and moved the lead of the best token over the second by 0.02 on
average and by 0.11 at most. In 4 of 7 answers of 33 tokens some token led by less than 0.1: to be sure of these, their
prompts would have to be read again in fp32, and the time saved would be lost. A true answer's loss moved by 0.001 a
token, ten times what two ways to compute it may differ by.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear

from kamerton.core.figures import Figure
from kamerton.core.messages import msg
from kamerton.kernels.linear import HalfLinear
from kamerton.kernels.product import product
from kamerton.kernels.trial import kept_ratio
from kamerton.runs.recipe import Decision

WORTH = 1.4
"""How much faster bf16 products must be to be worth their rounding."""
SHAPE = (768, 768, 2048)
"""Rows, inputs and outputs of the products that are timed: those of small models."""


def set_precision(model: nn.Module, precision: str) -> None:
    """Let a pretrained model's linear layers compute in `fp32` or `bf16`; layers added later are not touched."""
    if precision == "bf16":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = HalfLinear


def choose_precision() -> Decision:
    """Decide by what this machine really does: the ratio is timed once and kept in the user's cache folder.

    So two runs on one machine decide alike, however busy it is.
    """
    ratio = round(_ratio(), 2)
    times = Figure(ratio, "tenths")
    if ratio >= WORTH:
        reason = msg("products in bf16 are {times} times as fast here; sums and weights stay fp32", times=times)
        return Decision("bf16", reason)
    return Decision("fp32", msg("products in bf16 are {times} times as fast here: not worth the rounding", times=times))


def _ratio() -> float:
    rows, inputs, outputs = SHAPE
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    half_x, half_weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    return kept_ratio("bf16-products", lambda: product(x, weight), lambda: linear(half_x, half_weight))
