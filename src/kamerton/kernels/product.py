"""fp32 products by oneDNN's kernels, where they are faster on this machine than PyTorch's own.

PyTorch uses another library for fp32 than for bf16. oneDNN's products were 5 to 14% faster with the matrices of small
models, and by half with an output head's, in the same precision: only the order of the sums differs. PyTorch uses this
operator in what it compiles (`torch._inductor.fx_passes.mkldnn_fusion`), without a gradient; here it has one. Whether
it is right and faster is tried once on each machine.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from kamerton.kernels.trial import kept_ratio

WORTH = 1.02
"""How much faster these products must be: they cost nothing, but timings vary."""
MIN_SIZE = 1 << 23
"""Smaller products, by their multiplications, are left to PyTorch: the operator's call costs more than it gains."""
TRIED = (512, 1024, 768)
"""Rows, outputs and inputs of the trial's product."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x W^T + c` without a gradient; the strides of `[outputs, inputs]` weights do not matter."""
    return onednn_linear(x, weight, bias) if _pays(x, weight) else linear(x, weight, bias)


class Fused(nn.Module):
    """A module that computes by its fused implementation, not its library's own, unless `plain` is set."""

    plain = False


class FastLinear(nn.Linear, Fused):
    """A linear layer that uses the faster products, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., inputs]` to `[..., outputs]`."""
        if self.plain or not _pays(x, self.weight):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return product(x, self.weight, self.bias)
        output: Tensor = _Product.apply(x, self.weight, self.bias)
        return output


def use_fast_products(model: nn.Module) -> None:
    """Make a model's plain linear layers use the faster products, if they are faster here."""
    if fast_products_pay():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = FastLinear


@cache
def fast_products_pay() -> bool:
    """Return whether these products are right and faster on this machine; tried once and cached on disk."""
    return torch.backends.mkldnn.is_available() and product_ratio("fast-products", TRIED, Tensor.detach) >= WORTH


@torch.no_grad()
def product_ratio(name: str, shape: tuple[int, int, int], laid: Callable[[Tensor], Tensor]) -> float:
    """Return how many times as fast oneDNN's product of rows, outputs and inputs is with a weight so laid."""
    rows, outputs, inputs = shape
    weight = torch.linspace(-1, 1, outputs * inputs).sin().reshape(outputs, inputs)
    x = torch.linspace(0, 9, rows * inputs).cos().reshape(rows, inputs)
    laid_once = cache(laid)
    return kept_ratio(name, lambda: linear(x, weight), lambda: onednn_linear(x, laid_once(weight)), check=True)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        [gradient], (x, weight) = gradients, ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = product(gradient, weight.T)
        if ctx.needs_input_grad[1]:
            to_weight = flat.T @ x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[2]:
            to_bias = flat.sum(dim=0)
        return to_x, to_weight, to_bias


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply as `torch.nn.functional.linear` does, by oneDNN; the weight may be prepacked."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _pays(x: Tensor, weight: Tensor) -> bool:
    usual = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    large = usual and x.numel() * weight.shape[0] >= MIN_SIZE
    dense = large and (weight.is_contiguous() or weight.T.is_contiguous())  # oneDNN is slow with other strides
    return dense and fast_products_pay()
