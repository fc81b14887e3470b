"""Linear layers in bf16, and frozen matrices with low-rank updates as one autograd function.

As single operations, a low-rank update beside a matrix is five nodes with a tensor of the output's size each. Here the
update is added in place to the matrix's output, maps of the same input share one node, and the gradients to that input
are summed in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from kamerton.kernels.product import FastLinear, product


class HalfLinear(FastLinear):
    """A linear layer whose product is computed in bf16 while training, and in fp32 while evaluating.

    Its weight is in fp32, or in bf16 where nothing is lost by that (`hold_in_half`).
    """

    kept: tuple[Tensor, int] | None = None
    """While training, a frozen weight in bf16 and the weight's version when it was rounded."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., inputs]` to `[..., outputs]`, both in the input's own type."""
        if self.training:
            half = linear(x.to(torch.bfloat16), self.half_weight()).to(x.dtype)
            return half if self.bias is None else half + self.bias
        if self.weight.dtype == x.dtype:
            return super().forward(x)
        compute = linear if torch.is_grad_enabled() else product
        return compute(x, self.full_weight(), self.bias)

    def full_weight(self) -> Tensor:
        """Return the weight in fp32."""
        return self.weight.float()

    def half_weight(self) -> Tensor:
        """Return the weight in bf16; a frozen one is rounded once, until the layer evaluates."""
        if self.weight.requires_grad or self.weight.dtype == torch.bfloat16:
            return self.weight.to(torch.bfloat16)
        if self.kept is None or self.kept[1] != self.weight._version:
            self.kept = self.weight.to(torch.bfloat16), self.weight._version
        return self.kept[0]

    def train(self, mode: bool = True) -> Self:
        """Drop the rounded weight when training ends, since weights are changed outside of training."""
        self.kept = self.kept if mode else None
        return super().train(mode)


class HalfEmbedding(nn.Embedding):
    """A frozen table in bf16 whose rows are read in fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """Look up `[...]` ids: `[..., width]`."""
        return super().forward(input).float()


PLAIN = (nn.Linear, FastLinear, HalfLinear)
"""Linear layers that compute just their product."""


@dataclass(frozen=True)
class Pair:
    """A frozen linear map and the low-rank update beside it: `y = x W^T + c + scale (x A^T) B^T`."""

    weight: Tensor
    """`[outputs, inputs]`, in the type of its product; sums stay in the input's."""
    bias: Tensor | None
    a: Tensor
    """`[rank, inputs]`."""
    b: Tensor
    """`[outputs, rank]`."""
    scale: float


def apply_pairs(x: Tensor, pairs: Sequence[Pair]) -> tuple[Tensor, ...]:
    """Map `[..., inputs]` to each pair's `[..., outputs]`; only the input and its low-rank images are kept."""
    outputs: tuple[Tensor, ...] = _Pairs.apply(x, pairs, *(pair.a for pair in pairs), *(pair.b for pair in pairs))
    return outputs


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pairs: Sequence[Pair], *matrices: Tensor) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        images = flat @ torch.cat([pair.a for pair in pairs]).T
        ctx.save_for_backward(x, images, *matrices)
        ctx.pairs = pairs
        ctx.set_materialize_grads(False)
        inputs = {kind: flat.to(kind) for kind in {pair.weight.dtype for pair in pairs}}
        outputs = []
        for pair, image in zip(pairs, images.split([len(pair.a) for pair in pairs], dim=1), strict=True):
            output = _map(inputs[pair.weight.dtype], pair, x.dtype).addmm_(image, pair.b.T, alpha=pair.scale)
            # not a view: Longformer divides its queries in place
            outputs.append(torch.ops.aten._unsafe_view(output, [*x.shape[:-1], output.shape[-1]]))
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        x, images, *matrices = ctx.saved_tensors
        count = len(ctx.pairs)
        a, b = matrices[:count], matrices[count:]
        flat = x.reshape(-1, x.shape[-1])
        ranks = [len(one) for one in a]
        from_outputs = [
            flat.new_zeros(len(flat), len(one)) if gradient is None else gradient.reshape(-1, len(one))
            for gradient, one in zip(gradients, b, strict=True)
        ]
        parts = zip(from_outputs, b, ctx.pairs, strict=True)
        to_images = torch.cat([(gradient @ one).mul_(pair.scale) for gradient, one, pair in parts], dim=1)
        to_a = (to_images.T @ flat).split(ranks)
        parts = zip(from_outputs, images.split(ranks, dim=1), ctx.pairs, strict=True)
        to_b = [(gradient.T @ image).mul_(pair.scale) for gradient, image, pair in parts]
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _back(from_outputs, ctx.pairs).addmm_(to_images, torch.cat(a)).view_as(x)
        return to_x, None, *to_a, *to_b


def _map(x: Tensor, pair: Pair, result: torch.dtype) -> Tensor:
    """Return `x W^T + c` in the result's type, for an input in the product's."""
    if x.dtype == result:
        return product(x, pair.weight, pair.bias)
    output = linear(x, pair.weight).to(result)
    return output if pair.bias is None else output.add_(pair.bias)


def _back(gradients: Sequence[Tensor], pairs: Sequence[Pair]) -> Tensor:
    """Return the gradient of the input through the matrices of all pairs: `[rows, inputs]`."""
    [first, *others], [its, *theirs] = gradients, [pair.weight for pair in pairs]
    total = product(first.to(its.dtype), its.T).to(first.dtype)
    for gradient, weight in zip(others, theirs, strict=True):
        total.add_(product(gradient.to(weight.dtype), weight.T))
    return total
