"""Attention of many sequences in one flat row, on a CPU: those of like length are worked on together, in one node.

torch's own kernel takes a call for each length and goes through the heads of each sequence one by one, which for short
sequences takes several times the arithmetic. Here neighbours of near lengths stand in a bucket, where the shorter ones
are filled up to the longest; nobody sees the filling, and all products with weights stay free of it. Attention weights
of long sequences are computed a second time in the backward pass, some at a time; which of them are dropped is drawn
again, so that dropout costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from kamerton.kernels.buckets import Row, buckets, way_of_keys, way_of_queries
from kamerton.kernels.dropout import Bits, Chance, draw_seed

AT_ONCE = 1 << 20
"""Most attention weights in work at a time: 4 MB, which a processor's cache holds."""
PART = 96
"""About how many queries of a causal sequence are worked on together: fewer would compute less that nobody sees, in
products that are too small to be fast."""
KEPT = 2
"""How many times the queries' numbers attention weights may be to be kept for the backward pass; else they are computed
a second time."""


@dataclass(frozen=True)
class Block:
    """Attention matrices of one size that are worked on together: some queries of a bucket, for all heads."""

    count: int
    """Sequences times heads of the keys."""
    groups: int
    """Heads of the queries that share one of the keys."""
    length: int
    ahead: int
    """How many keys stand before a sequence's own."""
    rows: slice
    """The queries, by their place in each sequence."""
    seen: int
    """How many keys of each sequence they see."""
    queries: slice
    """The places of all queries of these sequences in the buckets."""
    keys: slice
    hidden: Tensor | None
    """What is added to the scores so that nobody sees what it should not: filling, or what comes after."""

    def query(self, places: Tensor) -> Tensor:
        """Give the block's part of the queries' places: `[count, rows * groups, width]`."""
        own = slice(self.rows.start * self.groups, self.rows.stop * self.groups)
        return places[self.queries].view(self.count, self.length * self.groups, -1)[:, own]

    def key(self, places: Tensor) -> Tensor:
        """Give the block's part of the keys' places: `[count, seen, width]`."""
        return places[self.keys].view(self.count, self.ahead + self.length, -1)[:, : self.seen]

    def put(self, one: Tensor, other: Tensor, into: Tensor) -> None:
        """Write a product into a part of the places; where queries are cut, parts of keys are there several times."""
        if self.rows.stop - self.rows.start == self.length:
            torch.bmm(one, other, out=into)
        else:
            into.baddbmm_(one, other)

    @property
    def weights(self) -> int:
        """How many attention weights it has."""
        return self.count * (self.rows.stop - self.rows.start) * self.groups * self.seen

    def weigh(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute its attention weights: `[count, rows * groups, seen]`."""
        scores = torch.bmm(self.query(query), self.key(key).transpose(1, 2))
        rows = self.rows.stop - self.rows.start
        if self.hidden is not None:
            scores.view(len(self.hidden), -1, rows, self.groups, self.seen).add_(self.hidden)
        return scores.softmax(dim=-1)


@lru_cache(maxsize=2)  # the layers of one pass share them; what long sequences hide would fill memory else
def blocks(row: Row, heads: int, groups: int, *, causal: bool) -> tuple[Block, ...]:
    """Cut buckets into blocks that a cache holds.

    Args:
        row: the sequences.
        heads: of the keys.
        groups: heads of the queries for each of these.
        causal: whether a token sees only those before it; then the queries are cut, too, and each part is held
            against the keys up to its last token.
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
                # filling at the end stands last: who is causal never sees it
                hidden = _hidden(real[:, :ahead], start, end) if causal else _filling(real)
                rows = slice(start, end)
                cut.append(Block(count, groups, length, ahead, rows, seen, queries, keys, hidden))
            first += count * length
            first_key += count * (ahead + length)
    return tuple(cut)


def _filling(real: Tensor) -> Tensor | None:
    """Give what hides filling: `[sequences, 1, 1, 1, length]`; nothing if there is none."""
    return None if real.all() else torch.zeros(real.shape).masked_fill_(~real, float("-inf"))[:, None, None, None]


def _hidden(continued: Tensor, start: int, end: int) -> Tensor:
    """Give what hides later tokens from some queries, and filling: `[sequences or 1, 1, rows, 1, ahead + end]`."""
    later = _later(start, end, continued.shape[1])
    filling = _filling(continued)
    return later if filling is None else later + pad(filling, (0, end))


@lru_cache(maxsize=64)
def _later(start: int, end: int, ahead: int) -> Tensor:
    """Give what hides later tokens from those between two places: `[1, 1, rows, 1, ahead + end]`."""
    later = torch.full((end - start, ahead + end), float("-inf"))
    return later.triu(ahead + start + 1)[None, None, :, None]


@dataclass(frozen=True)
class Attending:
    """How a flat row attends."""

    row: Row
    heads: int
    groups: int
    scale: float
    causal: bool
    chance: Chance | None
    """Of an attention weight to be dropped."""

    def into(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Carry `[tokens, heads, width]` into the buckets; the queries are scaled there, which the scores then are."""
        few = way_of_keys(self.row, self.heads)
        many = way_of_queries(self.row, self.heads, self.groups)
        return many.fill(query).mul_(self.scale), few.fill(key), few.fill(value)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The parts that are worked on one after the other."""
        return blocks(self.row, self.heads, self.groups, causal=self.causal)

    def keeps(self, query: Tensor) -> bool:
        """Say whether attention weights are few beside the queries, as they are in short sequences."""
        return sum(block.weights for block in self.blocks) <= KEPT * query.numel()

    def weights(
        self, query: Tensor, key: Tensor, seed: int, known: Sequence[Tensor] = ()
    ) -> Iterator[tuple[Block, Tensor, Tensor | None]]:
        """Give each block's attention weights, and which of them stay; the same ones for the same seed.

        Args:
            query: in the buckets, scaled.
            key: in the buckets.
            seed: of what is dropped.
            known: the blocks' weights if they were kept; they are computed if not.
        """
        bits = Bits(seed)
        for number, block in enumerate(self.blocks):
            weights = known[number] if known else block.weigh(query, key)
            yield block, weights, self.chance.kept(bits.of(weights.shape)) if self.chance else None

    def room(self, places: Tensor, width: int) -> Tensor:
        """Give room for as many places of such a width: zeros where products may be added to it."""
        return (places.new_zeros if self.causal else places.new_empty)(len(places), width)

    def stayed(self, weights: Tensor, kept: Tensor | None) -> Tensor:
        """Give attention weights, or gradients of them, without those that are dropped."""
        return weights if kept is None or self.chance is None else self.chance.drop(weights, kept)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row: Row,
    scale: float | None,
    *,
    dropout: float = 0.0,
    causal: bool,
) -> Tensor:
    """Let each sequence of a flat row attend to itself, and to what it continues.

    Args:
        query: `[1, heads, tokens, width]`.
        key: `[1, key heads, tokens, width]`: neighbouring heads of the query share one.
        value: like `key`; its width may be another.
        row: the sequences; none continues another if not causal.
        scale: factor on the scores; one over the root of the width if not given.
        dropout: probability of an attention weight to be dropped.
        causal: whether a token sees only those before it.

    Returns:
        `[tokens, heads, width]`.
    """
    heads = key.shape[1]
    how = Attending(
        row,
        heads,
        query.shape[1] // heads,
        query.shape[3] ** -0.5 if scale is None else scale,
        causal,
        Chance.of(dropout) if dropout else None,
    )
    attended: Tensor = _Attended.apply(*(states[0].transpose(0, 1) for states in (query, key, value)), how)
    return attended


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, how: Attending) -> Tensor:
        ctx.how, ctx.seed = how, draw_seed() if how.chance else 0
        q, k, v = how.into(query, key, value)
        places = how.room(q, value.shape[2])
        known = []
        keeps = any(ctx.needs_input_grad) and how.keeps(q)
        for block, weights, kept in how.weights(q, k, ctx.seed):
            block.put(how.stayed(weights, kept), block.key(v), block.query(places))
            known += [weights] if keeps else []
        attended = way_of_queries(how.row, how.heads, how.groups).empty(places, query.shape[1])
        ctx.save_for_backward(query, key, value, attended, *known)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, attended, *known = ctx.saved_tensors
        how: Attending = ctx.how
        many, few = way_of_queries(how.row, how.heads, how.groups), way_of_keys(how.row, how.heads)
        q, k, v = how.into(query, key, value)
        # the sum over keys of a weight times its gradient is that of the output times its own (Dao et al. 2022, B.2)
        above = many.fill(gradients[0]).index_fill_(0, many.filling, 0)  # nothing comes from what nobody reads
        own = (above * many.fill(attended)).sum(dim=-1, keepdim=True)
        to_q, to_k, to_v = (how.room(states, states.shape[1]) for states in (q, k, v))
        for block, weights, kept in how.weights(q, k, ctx.seed, known):
            outer = block.query(above)
            block.put(how.stayed(weights, kept).transpose(1, 2), outer, block.key(to_v))
            inner = how.stayed(torch.bmm(outer, block.key(v).transpose(1, 2)), kept)
            inner.sub_(block.query(own)).mul_(weights)
            block.put(inner, block.key(k), block.query(to_q))
            block.put(inner.transpose(1, 2), block.query(q), block.key(to_k))
        return (
            many.empty(to_q.mul_(how.scale), query.shape[1]),
            few.empty(to_k, how.heads),
            few.empty(to_v, how.heads),
            None,
        )
