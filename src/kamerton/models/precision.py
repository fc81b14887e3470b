"""Mixed precision: matrix products in bf16 if that is faster on this machine or card, everything else in fp32.

Only the products of the pretrained matrices are rounded; their results are converted to fp32 before anything is
added. So the small updates of an adapter, whose own matrices stay fp32, survive the sum: added to a bf16 result, most
of a change of 1e-3 would vanish. Weights, gradients and optimizer states stay fp32.

Inference runs in fp32, since answers must not depend on the machine. On SmolLM2 with prompts of 1,300 tokens, prefill
in bf16 took two thirds of the time, and changed the margin of the best token over the second by 0.02 on average and by
0.11 at most. In 4 of 7 answers of 33 tokens some margin was below 0.1: these prompts would have to be computed again in
fp32, which costs the time saved. The loss of a true answer changed by 0.001 per token, ten times the tolerance between
two ways to compute it.
"""

from collections import Counter, defaultdict

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.kernels.device import CPU, multiplies_bf16, name_of
from kamerton.kernels.linear import HalfEmbedding, HalfLinear
from kamerton.kernels.product import product
from kamerton.kernels.trial import kept_ratio
from kamerton.runs.recipe import Decision

BASE = "base_layer"
"""What PEFT names a layer that it wraps."""
WORTH = 1.4
"""The speed-up from which bf16 products are worth their rounding."""
SHAPE = (768, 768, 2048)
"""Rows, inputs and outputs of the timed products: those of small models."""


def set_precision(model: nn.Module, precision: str) -> None:
    """Set the precision of a pretrained model's linear layers to `fp32` or `bf16`; layers added later are unchanged."""
    if precision == "bf16":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = HalfLinear


@torch.no_grad()
def hold_in_half(model: nn.Module) -> None:
    """Hold frozen matrices in bf16 whose numbers bf16 can hold, as those of a model that was published in bf16.

    Evaluation makes fp32 of a matrix for each product, so that answers stay the same to the bit. A layer of PEFT that
    reads the table of embeddings itself keeps it in fp32.
    """
    readers = defaultdict[Tensor, list[nn.Module]](list)
    for name, module in model.named_modules():
        if type(module) is HalfLinear or (type(module) is nn.Embedding and BASE not in name):
            readers[module.weight].append(module)
    holders: Counter[Tensor] = Counter(
        weight for module in model.modules() for weight in module.parameters(recurse=False)
    )
    for weight, modules in readers.items():
        half = weight.to(torch.bfloat16)
        if not weight.requires_grad and holders[weight] == len(modules) and torch.equal(half.float(), weight):
            weight.data = half
            for module in modules:
                module.__class__ = HalfLinear if isinstance(module, HalfLinear) else HalfEmbedding


def choose_precision(device: torch.device = CPU) -> Decision:
    """Choose by what an accelerator is; on a CPU, by a ratio timed once and kept in the cache folder for all runs."""
    if (units := multiplies_bf16(device)) is not None:
        return by_units(name_of(device), units)
    rows, inputs, outputs = SHAPE
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    half_x, half_weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    measured = kept_ratio("bf16-products", lambda: product(x, weight), lambda: linear(half_x, half_weight))
    ratio = round(measured, 2)
    times = Figure(ratio, "tenths")
    if ratio >= WORTH:
        reason = msg("products in bf16 are {times} times as fast here; sums and weights stay fp32", times=times)
        return Decision("bf16", reason)
    return Decision("fp32", msg("products in bf16 are {times} times as fast here: not worth the rounding", times=times))


def by_units(device: Wording, units: bool) -> Decision:
    """Choose by whether an accelerator has units for products in bf16."""
    if units:
        return Decision("bf16", msg("{device} has units for products in bf16", device=device))
    return Decision("fp32", msg("{device} is not known to have units for products in bf16", device=device))
