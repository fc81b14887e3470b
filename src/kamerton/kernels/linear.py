"""Linear layers in 16 bits, and frozen matrices with low-rank updates as one autograd function.

As single operations, a low-rank update beside a matrix is five nodes with a tensor of the output's size each. Here the
update is added in place to the matrix's output, maps of the same input share one node, and the gradients to that input
are summed in place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from kamerton.kernels.product import FastLinear, product

AT_ONCE = 1 << 25
"""Most elements of a matrix held in 16 bits that are fp32 at a time: 128 MB. Output heads are larger."""


class HalfLinear(FastLinear):
    """A linear layer whose product is computed in 16 bits while training, and in fp32 while evaluating.

    Its weight is in fp32, or held in 16 bits (`kamerton.models.precision`).
    """

    product_type: torch.dtype = torch.bfloat16
    """The type of its product while training."""
    compute_dtype: ClassVar[torch.dtype] = torch.float32
    """By this name PEFT asks a layer for the type of what it puts beside a weight."""
    kept: tuple[Tensor, int] | None = None
    """While training, a frozen weight in 16 bits and the weight's version when it was rounded."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., inputs]` to `[..., outputs]`, both in the input's own type."""
        if self.training:
            half = linear(x.to(self.product_type), self.half_weight()).to(x.dtype)
            return half if self.bias is None else half + self.bias
        if self.weight.dtype == x.dtype:
            return super().forward(x)
        if not torch.is_grad_enabled():
            return torch.cat([product(x, *part) for part in _in_parts(self.weight, self.bias, x.dtype)], dim=-1)
        output: Tensor = _Held.apply(x, self.weight, self.bias)
        return output

    def half_weight(self) -> Tensor:
        """Return the weight in 16 bits; a frozen one is rounded once, until the layer evaluates."""
        if self.weight.requires_grad or self.weight.dtype == self.product_type:
            return self.weight.to(self.product_type)
        if self.kept is None or self.kept[1] != self.weight._version:
            self.kept = self.weight.to(self.product_type), self.weight._version
        return self.kept[0]

    def train(self, mode: bool = True) -> Self:
        """Drop the rounded weight when training ends, since weights are changed outside of training."""
        self.kept = self.kept if mode else None
        return super().train(mode)


class HalfEmbedding(nn.Embedding):
    """A frozen table in 16 bits whose rows are read in fp32."""

    def forward(self, input: Tensor) -> Tensor:
        """Look up `[...]` ids: `[..., width]`."""
        return super().forward(input).float()


class _Held(torch.autograd.Function):
    """The product with a frozen matrix that is held in another type; autograd would keep a copy for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.cat([linear(x, *part) for part in _in_parts(weight, bias, x.dtype)], dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        [gradient], [weight] = gradients, ctx.saved_tensors
        to_x = to_bias = None
        if ctx.needs_input_grad[0]:
            parts, at = _in_parts(weight, None, gradient.dtype), 0
            to_x = gradient.new_zeros(*gradient.shape[:-1], weight.shape[1])
            for part, _ in parts:
                to_x += gradient[..., at : at + len(part)] @ part
                at += len(part)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.flatten(end_dim=-2).sum(dim=0)
        return to_x, None, to_bias


def _in_parts(weight: Tensor, bias: Tensor | None, kind: torch.dtype) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield a matrix `[outputs, inputs]` with its bias in a type, some outputs at a time."""
    rows = max(1, AT_ONCE // weight.shape[1])
    biases = repeat(None) if bias is None else bias.split(rows)
    yield from ((part.to(kind), own) for part, own in zip(weight.split(rows), biases, strict=False))


PLAIN = (nn.Linear, FastLinear, HalfLinear)
"""Linear layers that compute just their product."""


@dataclass(frozen=True)
class Pair:
    """A frozen linear map and the low-rank update beside it: `y = x W^T + c + scale (x A^T) B^T`."""

    weight: Tensor
    """`[outputs, inputs]`."""
    bias: Tensor | None
    a: Tensor
    """`[rank, inputs]`."""
    b: Tensor
    """`[outputs, rank]`."""
    scale: float
    product_type: torch.dtype
    """Of the matrix's product; sums stay in the input's type."""


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
        inputs = {kind: flat.to(kind) for kind in {pair.product_type for pair in pairs}}
        outputs = []
        for pair, image in zip(pairs, images.split([len(pair.a) for pair in pairs], dim=1), strict=True):
            output = _map(inputs[pair.product_type], pair, x.dtype).addmm_(image, pair.b.T, alpha=pair.scale)
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
    weight = pair.weight.to(x.dtype)
    if x.dtype == result:
        return product(x, weight, pair.bias)
    output = linear(x, weight).to(result)
    return output if pair.bias is None else output.add_(pair.bias)


def _back(gradients: Sequence[Tensor], pairs: Sequence[Pair]) -> Tensor:
    """Return the gradient of the input through the matrices of all pairs: `[rows, inputs]`."""
    products = (
        product(gradient.to(kind := pair.product_type), pair.weight.to(kind).T)
        for gradient, pair in zip(gradients, pairs, strict=True)
    )
    total = next(products).to(gradients[0].dtype)
    for one in products:
        total.add_(one)
    return total
