"""Attention of many sequences in one packed row on a CPU, as one autograd function.

torch's own kernel needs a call for each length and computes the heads of each sequence one by one, which for short
sequences takes several times the arithmetic. Here neighbors of near lengths share a bucket, padded to the longest;
padding is masked, and products with weights never see it. Attention weights of long sequences are recomputed in the
backward pass, some at a time; the dropout mask is drawn again from its seed, so that dropout needs no memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from kamerton.kernels.buckets import PackedRow, Slots, buckets, key_slots, query_slots
from kamerton.kernels.dropout import Bits, Chance, draw_seed

AT_ONCE = 1 << 20
"""Most attention weights computed at a time: 4 MB, which fit a processor's cache."""
PART = 96
"""About how many queries of a causal sequence are computed together: fewer would mask less, in products that are too
small to be fast."""
KEPT = 2
"""Attention weights are kept for the backward pass if they are at most this many times the queries' elements; else they
are recomputed."""


@dataclass(frozen=True)
class AttentionBlock:
    """Attention matrices of one size that are computed together: some queries of a bucket, for all heads."""

    count: int
    """Sequences times heads of the keys."""
    groups: int
    """Heads of the queries that share one of the keys."""
    length: int
    ahead: int
    """Number of keys before a sequence's own."""
    rows: slice
    """The queries, by their position in each sequence."""
    seen: int
    """Number of keys that they attend to."""
    queries: slice
    """The slots of all queries of these sequences in the buckets."""
    keys: slice
    hidden: Tensor | None
    """Added to the scores to mask padding and later tokens."""

    def query(self, slots: Tensor) -> Tensor:
        """Return the block's queries among all slots: `[count, rows * groups, width]`."""
        own = slice(self.rows.start * self.groups, self.rows.stop * self.groups)
        return slots[self.queries].view(self.count, self.length * self.groups, -1)[:, own]

    def key(self, slots: Tensor) -> Tensor:
        """Return the block's keys among all slots: `[count, seen, width]`."""
        return slots[self.keys].view(self.count, self.ahead + self.length, -1)[:, : self.seen]

    def put(self, one: Tensor, other: Tensor, into: Tensor) -> None:
        """Write a product into slots; add it where queries are split, since parts then share keys."""
        if self.rows.stop - self.rows.start == self.length:
            torch.bmm(one, other, out=into)
        else:
            into.baddbmm_(one, other)

    @property
    def weights(self) -> int:
        """Number of attention weights."""
        return self.count * (self.rows.stop - self.rows.start) * self.groups * self.seen

    def attention_weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute the attention weights: `[count, rows * groups, seen]`."""
        scores = torch.bmm(self.query(query), self.key(key).transpose(1, 2))
        rows = self.rows.stop - self.rows.start
        if self.hidden is not None:
            scores.view(len(self.hidden), -1, rows, self.groups, self.seen).add_(self.hidden)
        return scores.softmax(dim=-1)


@lru_cache(maxsize=2)  # shared by the layers of one pass; masks of long sequences would fill memory
def blocks(row: PackedRow, heads: int, groups: int, *, causal: bool) -> tuple[AttentionBlock, ...]:
    """Split buckets into blocks that fit a processor's cache, for key heads with groups of query heads each.

    Where attention is causal, queries are split too, and each part is multiplied with the keys up to its last token.
    """
    cut = []
    first = first_key = 0
    for bucket in buckets(row):
        length, ahead = bucket.length, bucket.ahead
        parts = max(1, round(length / PART)) if causal else 1
        ends = [length * (part + 1) // parts for part in range(parts)]
        at_once = max(1, AT_ONCE // (heads * groups * ends[0] * (ahead + length)))
        for at in range(0, len(bucket.lengths), at_once):
            real = bucket.real_keys[at : at + at_once]
            count = len(real) * heads
            queries = slice(first * groups, (first + count * length) * groups)
            keys = slice(first_key, first_key + count * (ahead + length))
            for start, end in pairwise([0, *ends]):
                seen = ahead + (end if causal else length)
                # padding at the end comes last: causal queries never attend to it
                hidden = _causal_mask(real[:, :ahead], start, end) if causal else _padding_mask(real)
                rows = slice(start, end)
                cut.append(AttentionBlock(count, groups, length, ahead, rows, seen, queries, keys, hidden))
            first += count * length
            first_key += count * (ahead + length)
    return tuple(cut)


def _padding_mask(real: Tensor) -> Tensor | None:
    """Return the mask of padding, `[sequences, 1, 1, 1, length]`; None if there is none."""
    return None if real.all() else torch.zeros(real.shape).masked_fill_(~real, float("-inf"))[:, None, None, None]


def _causal_mask(continued: Tensor, start: int, end: int) -> Tensor:
    """Return the mask of later tokens and of padding: `[sequences or 1, 1, rows, 1, ahead + end]`."""
    later = _later(start, end, continued.shape[1])
    padding = _padding_mask(continued)
    return later if padding is None else later + pad(padding, (0, end))


@lru_cache(maxsize=64)
def _later(start: int, end: int, ahead: int) -> Tensor:
    """Return the mask of later tokens for queries between two positions: `[1, 1, rows, 1, ahead + end]`."""
    later = torch.full((end - start, ahead + end), float("-inf"))
    return later.triu(ahead + start + 1)[None, None, :, None]


@dataclass(frozen=True)
class _Attending:
    """How a packed row attends."""

    row: PackedRow
    heads: int
    groups: int
    scale: float
    causal: bool
    chance: Chance | None
    """Dropout of attention weights."""

    @property
    def query_slots(self) -> Slots:
        return query_slots(self.row, self.heads, self.groups)

    @property
    def key_slots(self) -> Slots:
        return key_slots(self.row, self.heads)

    def into(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Copy `[tokens, heads, width]` into the buckets; the queries are scaled there."""
        fill = self.key_slots.fill
        return self.query_slots.fill(query).mul_(self.scale), fill(key), fill(value)

    @property
    def blocks(self) -> tuple[AttentionBlock, ...]:
        return blocks(self.row, self.heads, self.groups, causal=self.causal)

    def weights(
        self, query: Tensor, key: Tensor, seed: int, known: Sequence[Tensor] = ()
    ) -> Iterator[tuple[AttentionBlock, Tensor, Tensor | None]]:
        """Yield each block's attention weights, if not `known`, and its dropout mask, the same one for a seed."""
        bits = Bits(seed) if self.chance else None  # making one takes as long as a small block
        for number, block in enumerate(self.blocks):
            weights = known[number] if known else block.attention_weights(query, key)
            yield block, weights, self.chance.kept(bits.of(weights.shape)) if self.chance and bits else None

    def room(self, slots: Tensor, width: int) -> Tensor:
        """Allocate as many slots of some width: zeros where products may be added."""
        return (slots.new_zeros if self.causal else slots.new_empty)(len(slots), width)

    def stayed(self, weights: Tensor, kept: Tensor | None) -> Tensor:
        """Apply a dropout mask to attention weights or their gradients."""
        return weights if kept is None or self.chance is None else self.chance.drop(weights, kept)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row: PackedRow,
    scale: float | None,
    *,
    dropout: float = 0.0,
    causal: bool,
) -> Tensor:
    """Attend within each sequence of a packed row, and to what it continues.

    Args:
        query: `[1, heads, tokens, width]`.
        key: `[1, key heads, tokens, width]`: neighboring heads of the query share one.
        value: like `key`; its width may differ.
        row: the sequences; none continues another if not causal.
        scale: factor on the scores; one over the root of the width if not given.
        dropout: probability of an attention weight to be dropped.
        causal: whether a token attends only to those before it.

    Returns:
        `[tokens, heads, width]`.
    """
    heads, chance = key.shape[1], Chance.of(dropout) if dropout else None
    scale = query.shape[3] ** -0.5 if scale is None else scale
    how = _Attending(row, heads, query.shape[1] // heads, scale, causal, chance)
    attended: Tensor = _Attended.apply(*(states[0].transpose(0, 1) for states in (query, key, value)), how)
    return attended


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, how: _Attending) -> Tensor:
        ctx.how, ctx.seed = how, draw_seed() if how.chance else 0
        q, k, v = how.into(query, key, value)
        slots = how.room(q, value.shape[2])
        known = []
        keeps = any(ctx.needs_input_grad) and sum(block.weights for block in how.blocks) <= KEPT * q.numel()
        for block, weights, kept in how.weights(q, k, ctx.seed):
            block.put(how.stayed(weights, kept), block.key(v), block.query(slots))
            known += [weights] if keeps else []
        attended = how.query_slots.collect(slots, query.shape[1])
        ctx.save_for_backward(query, key, value, attended, *known)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, attended, *known = ctx.saved_tensors
        how: _Attending = ctx.how
        many, few = how.query_slots, how.key_slots
        q, k, v = how.into(query, key, value)
        # the sum over keys of a weight times its gradient is that of the output times its own (Dao et al. 2022, B.2)
        above = many.fill(gradients[0]).index_fill_(0, many.padding, 0)  # padding receives zero gradient
        own = (above * many.fill(attended)).sum(dim=-1, keepdim=True)
        to_q, to_k, to_v = (how.room(states, states.shape[1]) for states in (q, k, v))
        for block, weights, kept in how.weights(q, k, ctx.seed, known):
            outer = block.query(above)
            block.put(how.stayed(weights, kept).transpose(1, 2), outer, block.key(to_v))
            inner = how.stayed(torch.bmm(outer, block.key(v).transpose(1, 2)), kept)
            inner.sub_(block.query(own)).mul_(weights)
            block.put(inner, block.key(k), block.query(to_q))
            block.put(inner.transpose(1, 2), block.query(q), block.key(to_k))
        to_query = many.collect(to_q.mul_(how.scale), query.shape[1])
        return to_query, few.collect(to_k, how.heads), few.collect(to_v, how.heads), None
