"""Root-mean-square norms as one autograd function: `y = w x / sqrt(mean(x^2) + eps)`.

Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019. As single operations its gradient takes a dozen
passes over the states and twice the time.
"""

from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kamerton.kernels.product import Fused

CLOSE = 1e-5
"""Tolerance within which a module must match the formula to be such a norm."""


class FusedNorm(Fused):
    """A library's norm that computes in one node where gradients are needed."""

    weight: Tensor
    epsilon: float

    def forward(self, states: Tensor) -> Tensor:
        """Normalize `[..., width]`."""
        if self.plain or not torch.is_grad_enabled() or states.dtype != self.weight.dtype:
            return super().forward(states)  # the library's own, next in the method resolution order
        normed: Tensor = _Norm.apply(states, self.weight, self.epsilon)
        return normed


def fuse_norms(model: nn.Module) -> None:
    """Fuse a model's root-mean-square norms, which are recognized by what they compute."""
    for module in model.modules():
        names = [name for name, _ in module.named_parameters()]
        numbers = [value for value in vars(module).values() if isinstance(value, float)]
        if names == ["weight"] and len(numbers) == 1 and _is_norm(module, numbers[0]):
            kind: Any = type(module)
            module.__class__ = type(kind.__name__, (FusedNorm, kind), {})
            cast(FusedNorm, module).epsilon = numbers[0]


@torch.no_grad()
def _is_norm(module: nn.Module, epsilon: float) -> bool:
    """Return whether a module of one weight computes the norm, on states that are not around zero."""
    weight = module.get_parameter("weight")
    if weight.ndim != 1 or len(signature(module.forward).parameters) != 1:  # another input, such as a gate
        return False
    draw = torch.Generator().manual_seed(0)
    states = (1 + torch.randn(2, len(weight), generator=draw)).to(weight)
    wanted = weight * states * _inverse(states, epsilon)
    return torch.allclose(module(states), wanted, rtol=CLOSE, atol=CLOSE)


def _inverse(states: Tensor, epsilon: float) -> Tensor:
    norms = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return norms.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inverse = _inverse(states, epsilon)
        ctx.save_for_backward(states, weight, inverse)
        return (states * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        [gradient], (states, weight, inverse) = gradients, ctx.saved_tensors
        to_states = to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (gradient * states).mul_(inverse).flatten(end_dim=-2).sum(dim=0)
        if ctx.needs_input_grad[0]:
            weighted = gradient * weight
            along = (weighted * states).sum(dim=-1, keepdim=True).mul_(inverse**3).div_(-states.shape[-1])
            to_states = weighted.mul_(inverse).addcmul_(states, along)
        return to_states, to_weight, None
