"""Causal attention of one long sequence without gradients, on a CPU, in matrix products large enough to be fast.

torch's kernel computes each head separately, in fp32 products without oneDNN. Here the heads that share a key are
stacked, some of their queries at a time, and multiplied with all keys that they attend to: two products of hundreds of
rows, which took about half the time (Zen 4 and 5).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kamerton.kernels.product import fast_products_pay, product

SCORES = 1 << 21
"""Most scores in memory at a time: 8 MB."""
ROWS = 256
"""Most queries of a head at a time: with more, more masked scores are computed."""
LONG, WIDE = 256, 32
"""Shortest sequence, and smallest head, for which this is faster."""


def is_fast(query: Tensor) -> bool:
    """Return whether sequences `[..., length, width]` gain: long, in fp32 on a CPU, and no gradient is wanted."""
    usual = query.device.type == "cpu" and query.dtype == torch.float32 and not torch.is_grad_enabled()
    return usual and query.shape[-2] >= LONG and query.shape[-1] >= WIDE and fast_products_pay()


def attend_causally(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Compute causal attention: each token attends to itself, to those before it, and to all ahead of the sequence.

    Args:
        query: `[sequences, heads, length, width]`.
        key: `[sequences, key heads, ahead + length, width]`: neighbouring heads of the query share one.
        value: like `key`.
        scale: factor on the scores; one over the root of the width if not given.

    Returns:
        `[sequences, heads, length, width]`.
    """
    key, value = key.contiguous(), value.contiguous()  # strided ones have no fast kernel in oneDNN
    return torch.stack([_attend(*one, scale) for one in zip(query, key, value, strict=True)])


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    heads, length, width = query.shape
    groups, ahead = key.shape[0], key.shape[1] - length
    each = heads // groups
    asked = (query * (width**-0.5 if scale is None else scale)).view(groups, each, length, width)
    attended = value.new_empty(groups, each, length, value.shape[2])
    at_once = max(1, min(ROWS, SCORES // (each * key.shape[1])))
    for start in range(0, length, at_once):
        rows = slice(start, min(length, start + at_once))
        count, seen = rows.stop - start, ahead + rows.stop
        for group in range(groups):
            own = asked[group, :, rows].reshape(each * count, width)
            scores = product(own, key[group, :seen]).view(each, count, seen)
            scores[:, :, ahead + start :].add_(_later(count))
            shares = scores.softmax(dim=-1).view(each * count, seen)
            attended[group, :, rows] = product(shares, value[group, :seen].T).view(each, count, -1)
    return attended.view(heads, length, -1)


@lru_cache(maxsize=8)
def _later(count: int) -> Tensor:
    """Return the causal mask: `[count, count]`."""
    return torch.full((count, count), float("-inf")).triu(1)
