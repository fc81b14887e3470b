"""Sequences that share prefixes, as a tree in one packed row: each shared token is computed once.

A narrow task has one instruction, and all its rows begin with it; a question stands before each of its options, a
prompt before the preferred answer and the rejected one. In a causal model a token's states depend only on the tokens
before it, so a shared prefix has the same states in every row, and the gradients of its continuations add up in it.

The tree may itself continue a prefix whose keys and values are already known: computed once for many passes, or
trained (prefix tuning).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby, islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core.records import Encoded
from kamerton.engine.packed import attend_causally, attend_within, is_fast, split_sequences
from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import PackedRow

WORTHWHILE = 0.95
"""Largest share of the tokens that may remain for a tree to be worth its overhead in training."""
MIN_SHARED = 8
"""In training, a shorter shared prefix is computed in each row."""
MAX_MASK = 1 << 24
"""Most elements of a mask for sequences that do not branch: 64 MB."""


@dataclass
class KeyValues:
    """Keys and values of a shared prefix, by attention layer; while filled, the attention context of its own tokens."""

    length: int = 0
    keys: dict[nn.Module, Tensor] = field(default_factory=dict)
    """`[1, key heads, length, width]` each; `values` alike."""
    values: dict[nn.Module, Tensor] = field(default_factory=dict)

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within the prefix, and keep its keys and values."""
        self.keys[module], self.values[module] = key, value
        return attend_within(query, key, value, [self.length], scale)


class Part(NamedTuple):
    """Tokens that several items share, or that one item has alone."""

    items: tuple[int, ...]
    start: int
    """Its first position in each of the items."""
    end: int
    parent: int
    """The index of the part that it continues; -1 for none."""

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.end - self.start


@dataclass(frozen=True)
class PrefixTree:
    """Items as the parts of one packed row, a parent before its children."""

    items: Sequence[Encoded]
    parts: tuple[Part, ...]
    prefix: KeyValues = field(default_factory=KeyValues)
    """What all items begin with, if it is computed elsewhere; their parts start behind it."""

    @cached_property
    def row(self) -> PackedRow:
        """The parts' lengths and parents."""
        return PackedRow(tuple(part.length for part in self.parts), tuple(part.parent for part in self.parts))

    def encoded(self) -> Encoded:
        """Return the row, with the output positions of all items in their order."""
        tokens = (self.items[part.items[0]].tokens[part.start : part.end] for part in self.parts)
        places, ahead = zip(self.places(), self.items, strict=True), self.prefix.length
        outputs = (own[position - ahead] for own, item in places for position in item.output_positions)
        return Encoded(tuple(chain.from_iterable(tokens)), tuple(outputs), ())

    def positions(self) -> list[int]:
        """Return each token's position in its items."""
        return [at for part in self.parts for at in range(part.start, part.end)]

    def places(self) -> list[list[int]]:
        """Return, for each item, the indices of its tokens in the row; tokens behind its last output are left out."""
        places: list[list[int]] = [[] for _ in self.items]
        for start, part in zip(self.row.starts, self.parts, strict=True):
            for number in part.items:
                places[number] += range(start, start + part.length)
        return places


@dataclass(frozen=True)
class GatheredAttention:
    """The attention context of a tree in training: each part's keys are gathered from all that it continues."""

    tree: PrefixTree

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each part and to its ancestors."""
        prefix = self.tree.prefix
        if count := prefix.length:  # as one more part, whose queries are not needed
            queries = query.new_zeros(1, query.shape[1], count, query.shape[3])
            ahead = (queries, prefix.keys[module], prefix.values[module])
            query, key, value = (torch.cat(pair, dim=2) for pair in zip(ahead, (query, key, value), strict=True))
        return attend(query, key, value, self._row, scale, causal=True)[count:]

    @cached_property
    def _row(self) -> PackedRow:
        row, count = self.tree.row, self.tree.prefix.length
        return PackedRow((count, *row.lengths), (-1, *(parent + 1 for parent in row.parents))) if count else row


@dataclass(frozen=True)
class MaskedAttention:
    """The attention context of a tree at inference: each root with its children attends under one mask.

    For answers of a token or two this is cheaper than gathering the keys of all that they continue. Each root is
    followed by its children.
    """

    tree: PrefixTree

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each subtree and to the prefix."""
        parts, prefix = [], self.tree.prefix
        for subtrees, tokens, branches, mask in self._runs:
            q, k, v = (split_sequences(x[0, :, tokens], subtrees) for x in (query, key, value))
            if prefix.length:
                ahead = (known[module].expand(len(q), -1, -1, -1) for known in (prefix.keys, prefix.values))
                k, v = (torch.cat(pair, dim=2) for pair in zip(ahead, (k, v), strict=True))
            causally = not branches and is_fast(q)
            attended = attend_causally(q, k, v, scale) if causally else _attend(q, k, v, scale, mask)
            parts.append(attended.transpose(1, 2).reshape(-1, q.shape[1], q.shape[3]))
        return torch.cat(parts)

    @cached_property
    def _runs(self) -> list[tuple[int, slice, bool, Tensor | None]]:
        """Group neighboring subtrees of one shape: their number and tokens, whether they branch, and their mask."""
        roots = [index for index, part in enumerate(self.tree.parts) if part.parent < 0]
        subtrees = (self.tree.parts[start:end] for start, end in pairwise([*roots, len(self.tree.parts)]))
        runs, start = [], 0
        for shape, group in groupby(subtrees, key=lambda parts: tuple(part.length for part in parts)):
            count = len(list(group))
            end = start + count * sum(shape)
            mask = branch_mask(shape, self.tree.prefix.length)
            runs.append((count, slice(start, end), len(shape) > 1, mask))
            start = end
        return runs


def branch_mask(shape: Sequence[int], prefix: int) -> Tensor | None:
    """Return the additive mask of a shared part and its branches, given their lengths: `[tokens, prefix + tokens]`.

    None if each token attends to all before it and torch's causal kernel, which takes as many queries as keys, has less
    to compute than one with a mask.
    """
    count = sum(shape)
    if len(shape) == 1 and (prefix <= count or count * (prefix + count) > MAX_MASK):
        return None
    branch = torch.repeat_interleave(torch.arange(len(shape)), torch.tensor(shape))
    below = torch.ones(count, count, dtype=torch.bool).tril()
    own = below & ((branch[None, :] == 0) | (branch[None, :] == branch[:, None]))
    hidden = torch.zeros(own.shape).masked_fill(~own, float("-inf"))
    return torch.cat([torch.zeros(count, prefix), hidden], dim=1)


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: Tensor | None) -> Tensor:
    """Attend behind a prefix by a mask, or to all tokens before: `[sequences, heads, length, width]`.

    torch's causal kernel takes as many queries as keys: the prefix gets zeros as queries, whose outputs are dropped.
    """
    grouped = key.shape[1] != query.shape[1]
    if mask is not None:
        return scaled_dot_product_attention(query, key, value, mask.to(query), scale=scale, enable_gqa=grouped)
    if ahead := key.shape[2] - query.shape[2]:
        query = torch.cat([query.new_zeros(*query.shape[:2], ahead, query.shape[3]), query], dim=2)
    causal = query.shape[2] > 1
    attended = scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scale, enable_gqa=grouped)
    return attended[:, :, ahead:]


def shared_length(one: Sequence[int], other: Sequence[int], start: int = 0) -> int:
    """Return the length of the common prefix of two sequences that are equal up to `start`.

    >>> shared_length((1, 2, 3), (1, 2, 4, 5))
    2
    """
    limit = min(len(one), len(other))
    return next((at for at in range(start, limit) if one[at] != other[at]), limit)


def join(items: Sequence[Encoded], prefix: KeyValues | None = None) -> PrefixTree | None:
    """Build the tree of all prefixes that items share; None if it saves too little.

    >>> rows = [Encoded((*range(10), last), (10,), ()) for last in (20, 30)]
    >>> [(part.items, part.start, part.end, part.parent) for part in join(rows).parts]
    [((0, 1), 0, 10, -1), ((0,), 10, 11, 0), ((1,), 10, 11, 0)]
    """
    prefix = prefix or KeyValues()
    if len(items) < 2 or any(item.segments for item in items):
        return None
    needed = [item.tokens[: max(item.output_positions, default=-1) + 1] for item in items]
    cut, total = list(_parts(needed, prefix.length)), sum(len(item.tokens) - prefix.length for item in items)
    if not cut or sum(part.length for part in cut) > WORTHWHILE * total:
        return None
    # those of like length behind like prefixes are neighbors; parents stay before children
    order = sorted(range(len(cut)), key=lambda i: (cut[i].start, cut[i].end))
    place = {-1: -1, **{old: new for new, old in enumerate(order)}}
    return PrefixTree(items, tuple(cut[i]._replace(parent=place[cut[i].parent]) for i in order), prefix)


def separate(items: Sequence[Encoded], prefix: KeyValues) -> PrefixTree:
    """Build a tree in which each item stands alone behind a prefix."""
    parts = tuple(Part((number,), prefix.length, len(item.tokens), -1) for number, item in enumerate(items))
    return PrefixTree(items, parts, prefix)


def branched(items: Sequence[Encoded], groups: Sequence[Sequence[int]], prefix: KeyValues) -> PrefixTree:
    """Build a tree of the items of some groups, in this order; those of a group are equal up to their first output.

    What follows an item's last output is left out.
    """
    parts, chosen = list[Part](), [items[index] for group in groups for index in group]
    numbers = iter(range(len(chosen)))
    for group in groups:
        own = tuple(islice(numbers, len(group)))
        ends = [chosen[i].output_positions[-1] + 1 for i in own]
        shared = chosen[own[0]].output_positions[0] + 1 if len(own) > 1 else ends[0]
        parent = len(parts)
        parts.append(Part(own, prefix.length, shared, -1))
        parts += [Part((i,), shared, end, parent) for i, end in zip(own, ends, strict=True) if end > shared]
    return PrefixTree(chosen, tuple(parts), prefix)


def _parts(sequences: Sequence[tuple[int, ...]], start: int) -> Iterator[Part]:
    """Cut sequences where they differ from each other; yield a parent before its children."""
    order = sorted((i for i, tokens in enumerate(sequences) if len(tokens) > start), key=lambda i: sequences[i])
    waiting, count = [(order, start, -1)], 0
    while waiting:
        group, start, parent = waiting.pop()
        if not group:
            continue
        first, last = sequences[group[0]], sequences[group[-1]]
        end = shared_length(first, last, start)  # in sorted order the first and the last share what all share
        if len(group) == 1 or end - start >= MIN_SHARED:
            yield Part(tuple(group), start, end, parent)
            start, parent = end, count
            count += 1
            group = [i for i in group if len(sequences[i]) > end]
        elif end == len(last):  # short and all equal
            for i in group:
                yield Part((i,), start, end, parent)
                count += 1
            continue
        branches = groupby(group, key=lambda i: sequences[i][end : end + 1])
        waiting += [(list(branch), start, parent) for _, branch in branches]
