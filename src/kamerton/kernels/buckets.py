"""Buckets: sequences of a packed row that are padded to one length to attend together.

Sequences with shared prefixes may form a tree in the row: each part attends to itself and to the parts it continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

CALL = 3000
"""Cost of one more bucket, in pairs of tokens that attend to each other (measured on two cores of a Zen 4)."""
TOKEN = 20
"""Cost of a token of padding beside its pairs."""


@dataclass(frozen=True)
class PackedRow:
    """The sequences of a packed row, or the parts of a prefix tree."""

    lengths: tuple[int, ...]
    parents: tuple[int, ...] = ()
    """The part that each part continues, -1 for none, a parent before its children; none continues another if empty.
    Causal queries attend to their prefix."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first index of each part in the row."""
        return tuple(accumulate(self.lengths[:-1], initial=0))

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """The tokens that each part continues, by their index in the row."""
        known: list[tuple[int, ...]] = []
        for parent in self.parents or (-1,) * len(self.lengths):
            own = () if parent < 0 else range(self.starts[parent], self.starts[parent] + self.lengths[parent])
            known.append(() if parent < 0 else (*known[parent], *own))
        return tuple(known)


@dataclass(frozen=True)
class Bucket:
    """Neighboring sequences of a packed row, padded to one length."""

    start: int
    """The first one's first index in the row."""
    lengths: tuple[int, ...]
    before: tuple[tuple[int, ...], ...]
    """The tokens that each of them continues."""

    @cached_property
    def length(self) -> int:
        """Length of the longest one."""
        return max(self.lengths)

    @cached_property
    def ahead(self) -> int:
        """Most tokens that one of them continues."""
        return max(map(len, self.before))

    @cached_property
    def real(self) -> Tensor:
        """Whether each slot holds a token, not padding: `[sequences, length]`."""
        return torch.arange(self.length) < torch.tensor(self.lengths).unsqueeze(1)

    @cached_property
    def tokens(self) -> Tensor:
        """Each slot's index in the row, `[sequences, length]`; padding repeats the last token."""
        starts = torch.tensor([*accumulate(self.lengths[:-1], initial=self.start)])
        at = torch.arange(self.length).minimum(torch.tensor(self.lengths).unsqueeze(1) - 1)
        return starts.unsqueeze(1) + at

    @cached_property
    def real_keys(self) -> Tensor:
        """Whether each slot of the keys holds a token: `[sequences, ahead + length]`."""
        continued = torch.tensor([len(tokens) for tokens in self.before]).unsqueeze(1)
        return torch.cat([torch.arange(self.ahead) >= self.ahead - continued, self.real], dim=1)

    @cached_property
    def keys(self) -> Tensor:
        """Each key slot's index in the row, `[sequences, ahead + length]`; what is continued is padded at its start."""
        padded = [(0,) * (self.ahead - len(tokens)) + tokens for tokens in self.before]
        continued = torch.tensor(padded, dtype=torch.long).view(len(self.before), self.ahead)
        return torch.cat([continued, self.tokens], dim=1)


@lru_cache(maxsize=8)
def buckets(row: PackedRow) -> tuple[Bucket, ...]:
    """Group neighbors as long as their padding costs less than a bucket of their own.

    Rows of a pass are sorted by length; where they are not, there are more buckets.

    >>> [bucket.lengths for bucket in buckets(PackedRow((9, 10, 10, 12, 200)))]
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
    spans = pairwise(accumulate(map(len, found), initial=0))
    return tuple(Bucket(row.starts[at], row.lengths[at:end], row.before[at:end]) for at, end in spans)


def _cost(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the cost of one bucket for sequences, each given as its length and the number of tokens it continues."""
    length, ahead = (max(part) for part in zip(*sizes, strict=True))
    return len(sizes) * length * (length + ahead + TOKEN)


@dataclass(frozen=True)
class Slots:
    """How the states of heads are copied from a packed row into buckets and back.

    In the row a token's heads are contiguous. In a bucket the tokens of each key head are; query heads that share a key
    head are contiguous at each token, so that they form one matrix, as do those of neighboring tokens.
    """

    into: Tensor
    """The row of `[tokens * heads, width]` in each slot."""
    back: Tensor
    """The slots of each of those rows, one row's after the other's."""
    bags: Tensor | None
    """Where each row's slots begin in `back`; None if each has one."""
    padding: Tensor
    """The slots of padding."""

    def fill(self, states: Tensor) -> Tensor:
        """Copy `[tokens, heads, width]` into the buckets: `[slots, width]`."""
        return states.reshape(-1, states.shape[-1]).index_select(0, self.into)

    def collect(self, slots: Tensor, heads: int) -> Tensor:
        """Copy the slots back, summed where a row has several: `[tokens, heads, width]`."""
        if self.bags is None:
            states = slots.index_select(0, self.back)
        else:
            states = embedding_bag(self.back, slots, self.bags, mode="sum")
        return states.view(-1, heads, slots.shape[-1])


@lru_cache(maxsize=8)
def query_slots(row: PackedRow, heads: int, groups: int) -> Slots:
    """Return the slots of a row's queries, of which so many neighboring heads share a key head."""
    return _slots([(bucket.tokens, bucket.real) for bucket in buckets(row)], heads, groups)


@lru_cache(maxsize=8)
def key_slots(row: PackedRow, heads: int) -> Slots:
    """Return the slots of a row's keys, which have one for each part that continues them."""
    return _slots([(bucket.keys, bucket.real_keys) for bucket in buckets(row)], heads, 1)


def _slots(parts: Sequence[tuple[Tensor, Tensor]], heads: int, groups: int) -> Slots:
    number = torch.arange(heads * groups).view(heads, 1, groups)
    into, real = [], []
    for tokens, held in parts:
        into.append((tokens[:, None, :, None] * (heads * groups) + number).flatten())
        real.append(held[:, None, :, None].expand(-1, heads, -1, groups).flatten())
    rows, held = torch.cat(into), torch.cat(real)
    slots = held.nonzero()[:, 0]
    back = slots[rows[slots].argsort(stable=True)]
    times = rows[slots].bincount()
    return Slots(rows, back, None if times.max() == 1 else times.cumsum(0) - times, (~held).nonzero()[:, 0])
