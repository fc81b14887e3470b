"""Prepacked weights: products of a few rows with large matrices, in the block layout of oneDNN's kernels.

Decoding multiplies one token of each answer by every matrix of the model, and PyTorch's usual products leave most of a
machine idle at that size. With prepacked weights, products of 4 to 64 rows take a half to a fifth of the time. They
are the same fp32 products, summed in another order. PyTorch uses these operators in what it compiles
(`torch._inductor.fx_passes.mkldnn_fusion`); whether they are right and faster is tried once on each machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn

from kamerton.kernels.linear import PLAIN, HalfLinear
from kamerton.kernels.product import onednn_linear, product_ratio

WORTH = 1.2
"""How much faster prepacked products must be to be worth a copy of the weights."""
ROWS, OUTPUTS, INPUTS = 16, 8192, 512
"""Rows, and outputs and inputs of the trial's products: 16 MB of weights come from memory, as a model's do."""
FEW = 4
"""With fewer rows nothing is gained: the time is that of loading the weights from memory."""
SMALL = 1 << 16
"""Weights with fewer elements are left as they are."""


@contextmanager
def prepacked(model: nn.Module, rows: int) -> Iterator[None]:
    """While active, a model's linear layers use prepacked copies of their weights, where that is faster here.

    The copies take as much memory as the weights, and do not follow later changes of them. `rows` are multiplied at a
    time.
    """
    layers = _layers(model) if rows >= FEW and prepacking_pays() else []
    layers = [layer for layer in layers if "forward" not in vars(layer)]  # a server holds its models prepacked
    for layer in layers:
        vars(layer)["forward"] = partial(onednn_linear, weight=prepack(layer.weight.float()), bias=layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def prepack(weight: Tensor) -> Tensor:
    """Copy a matrix `[outputs, inputs]` into blocks."""
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
    return laid


@cache
def prepacking_pays() -> bool:
    """Return whether prepacked products are right and faster on this machine; tried once and cached on disk."""
    shape = ROWS, OUTPUTS, INPUTS
    return torch.backends.mkldnn.is_available() and product_ratio("packed-products", shape, prepack) >= WORTH


def _layers(model: nn.Module) -> list[nn.Linear]:
    found = [module for module in model.modules() if isinstance(module, nn.Linear) and type(module) in PLAIN]
    large = [layer for layer in found if layer.weight.numel() >= SMALL and layer.weight.device.type == "cpu"]
    return [layer for layer in large if layer.weight.dtype == torch.float32 or isinstance(layer, HalfLinear)]
