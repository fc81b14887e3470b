"""Where tokens of a flat row stand while they attend: sequences of near lengths in buckets, filled up to one length.

Sequences that begin alike may stand in the row as a tree: each part sees itself and the parts that it continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

CALL = 3000
"""What one more bucket costs, in pairs of tokens that attend to each other (measured on two cores of a Zen 4)."""
TOKEN = 20
"""What a token of filling costs beside its pairs."""


@dataclass(frozen=True)
class Row:
    """The sequences of a flat row, or parts of such that begin alike."""

    lengths: tuple[int, ...]
    parents: tuple[int, ...] = ()
    """Which part each part continues, -1 for none, a parent before its children; nothing continues another if empty.
    Who is causal sees what it continues."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Say where each part begins."""
        return tuple(accumulate(self.lengths[:-1], initial=0))

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """Give the tokens that each part continues, by their place in the row."""
        known: list[tuple[int, ...]] = []
        for parent in self.parents or (-1,) * len(self.lengths):
            own = () if parent < 0 else range(self.starts[parent], self.starts[parent] + self.lengths[parent])
            known.append(() if parent < 0 else (*known[parent], *own))
        return tuple(known)


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sequences of a flat row, filled up to one length."""

    start: int
    """The first one's first token in the row."""
    lengths: tuple[int, ...]
    before: tuple[tuple[int, ...], ...]
    """What each of them continues."""

    @cached_property
    def length(self) -> int:
        """The longest one's."""
        return max(self.lengths)

    @cached_property
    def ahead(self) -> int:
        """Most tokens that one of them continues."""
        return max(map(len, self.before))

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

    @cached_property
    def real_keys(self) -> Tensor:
        """Say which places of the keys are no filling, which stands before what is continued as well."""
        continued = torch.tensor([len(tokens) for tokens in self.before]).unsqueeze(1)
        return torch.cat([torch.arange(self.ahead) >= self.ahead - continued, self.real], dim=1)

    @cached_property
    def keys(self) -> Tensor:
        """Give the token of each place of the keys, `[sequences, ahead + length]`."""
        continued = [(0,) * (self.ahead - len(tokens)) + tokens for tokens in self.before]
        return torch.cat(
            [torch.tensor(continued, dtype=torch.long).view(len(self.before), self.ahead), self.tokens], dim=1
        )


@lru_cache(maxsize=8)
def buckets(row: Row) -> tuple[Bucket, ...]:
    """Put neighbours together as long as the filling costs less than a bucket of their own.

    Rows of a pass are sorted by length; where they are not, there are just more buckets.

    >>> [bucket.lengths for bucket in buckets(Row((9, 10, 10, 12, 200)))]
    [(9, 10, 10, 12), (200,)]
    """
    sizes = [(length, len(before)) for length, before in zip(row.lengths, row.before, strict=True)]
    found: list[list[tuple[int, int]]] = []
    wasted = 0
    for _, run in groupby(sizes):
        same = list(run)
        more = _cost(found[-1] + same) - _cost(found[-1]) - _cost(same) if found else CALL
        if wasted + more < CALL:
            found[-1] += same
            wasted += more
        else:
            found.append(same)
            wasted = 0
    ends = list(accumulate(map(len, found), initial=0))
    return tuple(
        Bucket(row.starts[first], row.lengths[first:last], row.before[first:last]) for first, last in pairwise(ends)
    )


def _cost(sizes: Sequence[tuple[int, int]]) -> int:
    """Say what it costs to have sequences in one bucket, each of a length and behind so many tokens."""
    length, ahead = (max(part) for part in zip(*sizes, strict=True))
    return len(sizes) * length * (length + ahead + TOKEN)


@dataclass(frozen=True)
class Way:
    """How the states of heads go from a flat row into buckets and back.

    In the row a token's heads lie side by side. In a bucket the tokens of each head of the keys do; heads of the
    queries that share one stand together at each token, so that they are one matrix, and so are those of some tokens.
    """

    into: Tensor
    """The row of `[tokens * heads, width]` that stands at each place of the buckets."""
    back: Tensor
    """The places at which each of those rows stands, one row's after the other's."""
    bags: Tensor | None
    """Where each row's places begin in `back`; None if each stands at one."""
    filling: Tensor
    """The places that are filling."""

    def fill(self, states: Tensor) -> Tensor:
        """Carry `[tokens, heads, width]` into the buckets: `[places, width]`."""
        return states.reshape(-1, states.shape[-1]).index_select(0, self.into)

    def empty(self, places: Tensor, heads: int) -> Tensor:
        """Carry the buckets' places back, the sum of them where there are several: `[tokens, heads, width]`."""
        if self.bags is None:
            states = places.index_select(0, self.back)
        else:
            states = embedding_bag(self.back, places, self.bags, mode="sum")
        return states.view(-1, heads, places.shape[-1])


@lru_cache(maxsize=8)
def way_of_queries(row: Row, heads: int, groups: int) -> Way:
    """Draw up the way of a row's queries; so many neighbouring heads stand together."""
    return _way([(bucket.tokens, bucket.real) for bucket in buckets(row)], heads, groups)


@lru_cache(maxsize=8)
def way_of_keys(row: Row, heads: int) -> Way:
    """Draw up the way of a row's keys, which are seen by what continues them, too."""
    return _way([(bucket.keys, bucket.real_keys) for bucket in buckets(row)], heads, 1)


def _way(parts: Sequence[tuple[Tensor, Tensor]], heads: int, groups: int) -> Way:
    number = torch.arange(heads * groups).view(heads, 1, groups)
    into, real = [], []
    for tokens, held in parts:
        into.append((tokens[:, None, :, None] * (heads * groups) + number).flatten())
        real.append(held[:, None, :, None].expand(-1, heads, -1, groups).flatten())
    rows, held = torch.cat(into), torch.cat(real)
    places = held.nonzero()[:, 0]
    back = places[rows[places].argsort(stable=True)]
    times = rows[places].bincount()
    return Way(rows, back, None if times.max() == 1 else times.cumsum(0) - times, (~held).nonzero()[:, 0])
