"""Products of a few rows with large matrices: weights laid out in the blocks in which oneDNN's kernels read them.

To write answers is to multiply one token of each by every matrix of the model. PyTorch's usual products leave
most of a machine idle at that size. With the weights packed beforehand, products of 4 to 64 rows take a half to a
fifth of the time. They are the same fp32 products, summed in another order. PyTorch uses these operators in what it
compiles (`torch._inductor.fx_passes.mkldnn_fusion`); whether they are right and faster is tried once on each machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from kamerton.kernels.linear import PLAIN
from kamerton.kernels.trial import kept_ratio_if_equal

WORTH = 1.2
"""How much faster packed products must be to be worth a copy of the weights."""
ROWS, SHAPE = 16, (8192, 512)
"""Rows, and outputs and inputs of the products that are tried: 16 MB of weights come from memory, as a model's do."""
FEW = 4
"""With fewer rows packed weights gain nothing: what counts is how long the weights take from memory."""
SMALL = 1 << 16
"""Weights with fewer numbers are left as they are."""


@contextmanager
def packed(model: nn.Module, rows: int) -> Iterator[None]:
    """Let a model's linear layers multiply by packed copies of their weights for a while, where that is faster here.

    The copies take as much memory as the weights. What changes the weights meanwhile is not seen.

    Args:
        model: whose layers they are.
        rows: how many rows are multiplied at a time; few gain nothing.
    """
    pays = rows >= FEW and packing_pays()
    layers = _layers(model) if pays else []
    for layer in layers:
        vars(layer)["forward"] = partial(_multiply, pack(layer.weight), layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def pack(weight: Tensor) -> Tensor:
    """Lay a matrix `[outputs, inputs]` out in blocks."""
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
    return laid


def packing_pays() -> bool:
    """Say whether packed products are right and faster on this machine; tried once and kept in the cache folder."""
    return torch.backends.mkldnn.is_available() and _ratio() >= WORTH


def _multiply(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """Multiply as `torch.nn.functional.linear` does, by a packed matrix."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _layers(model: nn.Module) -> list[nn.Linear]:
    """Find the linear layers that compute nothing but their product, and are large enough."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [layer for layer in linears if type(layer) in PLAIN and _is_plain(layer.weight)]


def _is_plain(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= SMALL


@cache
def _ratio() -> float:
    """Give how many times as fast packed products are; 0 if they are wrong or cannot be done."""
    weight = torch.linspace(-1, 1, SHAPE[0] * SHAPE[1]).sin().reshape(SHAPE)
    x = torch.linspace(0, 9, ROWS * SHAPE[1]).cos().reshape(ROWS, SHAPE[1])
    in_blocks = cache(pack)
    return kept_ratio_if_equal(
        "packed-products", lambda: linear(x, weight), lambda: _multiply(in_blocks(weight), None, x)
    )
