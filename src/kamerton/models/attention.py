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
from functools import cached_property, lru_cache
from itertools import accumulate, groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kamerton.models.dropout import Bits, Chance, draw_seed

AT_ONCE = 1 << 20
"""Most attention weights in work at a time: 4 MB, which a processor's cache holds."""
CALL = 3000
"""What one more bucket costs, in pairs of tokens that attend to each other (measured on two cores of a Zen 4)."""
PART = 96
"""About how many queries of a causal sequence are worked on together: fewer would compute less that nobody sees, in
products that are too small to be fast."""
KEPT = 2
"""How many times the queries' numbers attention weights may be to be kept for the backward pass; else they are computed
a second time."""
TOKEN = 20
"""What a token of filling costs beside its pairs."""


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sequences of a flat row, filled up to one length."""

    start: int
    """The first one's first token in the row."""
    lengths: tuple[int, ...]

    @cached_property
    def length(self) -> int:
        """The longest one's."""
        return max(self.lengths)

    @property
    def places(self) -> int:
        """Tokens with the filling."""
        return self.length * len(self.lengths)

    @cached_property
    def real(self) -> Tensor:
        """Say which places are no filling: `[sequences, length]`."""
        return torch.arange(self.length) < torch.tensor(self.lengths).unsqueeze(1)

    @cached_property
    def tokens(self) -> Tensor:
        """Give each place's token in the row, `[sequences, length]`; filling repeats the last one."""
        starts = torch.tensor([*accumulate(self.lengths[:-1], initial=self.start)])
        at = torch.arange(self.length).minimum(torch.tensor(self.lengths).unsqueeze(1) - 1)
        return starts.unsqueeze(1) + at


@lru_cache(maxsize=8)
def buckets(lengths: tuple[int, ...]) -> tuple[Bucket, ...]:
    """Put neighbours together as long as the filling costs less than a bucket of their own.

    Rows of a pass are sorted by length; where they are not, there are just more buckets.

    >>> [bucket.lengths for bucket in buckets((9, 10, 10, 12, 200))]
    [(9, 10, 10, 12), (200,)]
    """
    found: list[list[int]] = []
    wasted = 0
    for _, run in groupby(lengths):
        same = list(run)
        more = _more(found[-1], same) if found else CALL
        if wasted + more < CALL:
            found[-1] += same
            wasted += more
        else:
            found.append(same)
            wasted = 0
    starts = accumulate((sum(bucket) for bucket in found), initial=0)
    return tuple(Bucket(start, tuple(bucket)) for start, bucket in zip(starts, found, strict=False))


def _more(bucket: Sequence[int], same: Sequence[int]) -> int:
    """Say what filling it would take to have sequences of one length in a bucket."""
    longest, length = max(bucket), same[0]
    filled = len(bucket) if length > longest else len(same)
    return filled * abs(longest * (longest + TOKEN) - length * (length + TOKEN))


@dataclass(frozen=True)
class Way:
    """How the states of heads go from a flat row into buckets and back.

    In the row a token's heads lie side by side. In a bucket the tokens of each head of the keys do; heads of the
    queries that share one stand together at each token, so that they are one matrix, and so are those of some tokens.
    """

    into: Tensor
    """The row of `[tokens * heads, width]` that stands at each place of the buckets."""
    back: Tensor
    """The place at which each of those rows stands."""
    filling: Tensor
    """The places that are filling."""

    def fill(self, states: Tensor) -> Tensor:
        """Carry `[tokens, heads, width]` into the buckets: `[places, width]`."""
        return states.reshape(-1, states.shape[-1]).index_select(0, self.into)

    def empty(self, places: Tensor, heads: int) -> Tensor:
        """Carry the buckets' places back: `[tokens, heads, width]`."""
        return places.index_select(0, self.back).view(-1, heads, places.shape[-1])


@lru_cache(maxsize=16)
def way(lengths: tuple[int, ...], heads: int, groups: int = 1) -> Way:
    """Draw up the way of a row with so many heads, each in so many groups."""
    number = torch.arange(heads * groups).view(heads, 1, groups)
    into, real = [], []
    for bucket in buckets(lengths):
        into.append((bucket.tokens[:, None, :, None] * (heads * groups) + number).flatten())
        real.append(bucket.real[:, None, :, None].expand(-1, heads, -1, groups).flatten())
    rows, held = torch.cat(into), torch.cat(real)
    back = torch.empty(sum(lengths) * heads * groups, dtype=torch.long)
    places = held.nonzero()[:, 0]
    back[rows[places]] = places
    return Way(rows, back, (~held).nonzero()[:, 0])


@dataclass(frozen=True)
class Block:
    """Attention matrices of one size that are worked on together: some queries of a bucket, for all heads."""

    count: int
    """Sequences times heads of the keys."""
    groups: int
    """Heads of the queries that share one of the keys."""
    length: int
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
        return places[self.keys].view(self.count, self.length, -1)[:, : self.seen]

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
def blocks(lengths: tuple[int, ...], heads: int, groups: int, *, causal: bool) -> tuple[Block, ...]:
    """Cut buckets into blocks that a cache holds.

    Args:
        lengths: of the sequences.
        heads: of the keys.
        groups: heads of the queries for each of these.
        causal: whether a token sees only those before it; then the queries are cut, too, and each part is held
            against the keys up to its last token.
    """
    cut = []
    first = 0
    for bucket in buckets(lengths):
        length = bucket.length
        parts = max(1, round(length / PART)) if causal else 1
        ends = [length * (part + 1) // parts for part in range(parts)]
        at_once = max(1, AT_ONCE // (heads * groups * ends[0] * length))
        for at in range(0, len(bucket.lengths), at_once):
            real = bucket.real[at : at + at_once]
            places = len(real) * heads * length
            queries = slice(first * groups, (first + places) * groups)
            keys = slice(first, first + places)
            for start, end in pairwise([0, *ends]):
                # filling stands last: who is causal never sees it
                hidden = _later(start, end) if causal else _filling(real)
                seen = end if causal else length
                cut.append(Block(len(real) * heads, groups, length, slice(start, end), seen, queries, keys, hidden))
            first += places
    return tuple(cut)


def _filling(real: Tensor) -> Tensor | None:
    """Give what hides filling: `[sequences, 1, 1, 1, length]`; nothing if there is none."""
    return None if real.all() else torch.zeros(real.shape).masked_fill_(~real, float("-inf"))[:, None, None, None]


@lru_cache(maxsize=64)
def _later(start: int, end: int) -> Tensor:
    """Give what hides later tokens from those between two places: `[1, 1, rows, 1, end]`."""
    return torch.full((end - start, end), float("-inf")).triu(start + 1)[None, None, :, None]


@dataclass(frozen=True)
class Attending:
    """How a flat row attends."""

    lengths: tuple[int, ...]
    heads: int
    groups: int
    scale: float
    causal: bool
    chance: Chance | None
    """Of an attention weight to be dropped."""

    def into(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Carry `[tokens, heads, width]` into the buckets; the queries are scaled there, which the scores then are."""
        few = way(self.lengths, self.heads)
        many = way(self.lengths, self.heads, self.groups)
        return many.fill(query).mul_(self.scale), few.fill(key), few.fill(value)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The parts that are worked on one after the other."""
        return blocks(self.lengths, self.heads, self.groups, causal=self.causal)

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
    lengths: Sequence[int],
    scale: float | None,
    *,
    dropout: float = 0.0,
    causal: bool,
) -> Tensor:
    """Let each sequence of a flat row attend to itself.

    Args:
        query: `[1, heads, tokens, width]`.
        key: `[1, key heads, tokens, width]`: neighbouring heads of the query share one.
        value: like `key`; its width may be another.
        lengths: of the sequences.
        scale: factor on the scores; one over the root of the width if not given.
        dropout: probability of an attention weight to be dropped.
        causal: whether a token sees only those before it.

    Returns:
        `[tokens, heads, width]`.
    """
    heads = key.shape[1]
    how = Attending(
        tuple(lengths),
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
        attended = way(how.lengths, how.heads, how.groups).empty(places, query.shape[1])
        ctx.save_for_backward(query, key, value, attended, *known)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, attended, *known = ctx.saved_tensors
        how: Attending = ctx.how
        many, few = way(how.lengths, how.heads, how.groups), way(how.lengths, how.heads)
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
