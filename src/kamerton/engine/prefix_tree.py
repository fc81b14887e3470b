"""What the rows of a pass begin with is computed once, in training too.

A narrow task has one instruction, and all its rows begin with it; a question stands before each of its options, a
prompt before the answer that is preferred and the one that is not. In a causal model what a token becomes depends on
nothing behind it, so such a beginning is the same in each row, and the gradients of all that follows it add up in it.
Rows stand as a tree in one flat row, each part of it behind the part that it continues. Exact where nothing is dropped
at random, and proven like every layout.

What is only read goes another way (`kamerton.engine.prefix_sharing`): there a beginning lasts over many passes, and
labels of a token or two are cheaper behind a mask than with the keys of all that they continue gathered for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.layout import Flat, Layout, prove_equal
from kamerton.engine.packed import Context
from kamerton.engine.prefix_sharing import alike_up_to, branching
from kamerton.kernels.attention import attend
from kamerton.kernels.buckets import Row
from kamerton.kernels.dropout import drops
from kamerton.models.structure import device_of

WORTHWHILE = 0.95
"""Share of the tokens that may be left for joining to be worth its way about."""
LEAST = 8
"""A beginning of fewer tokens is computed in each row."""
LOOKED_AT = 64
"""Rows that are looked at to see whether the data begin alike."""


class Part(NamedTuple):
    """Some tokens in a row, that some items have in common or one has alone."""

    items: tuple[int, ...]
    start: int
    """Where it begins in each of the items."""
    end: int
    parent: int
    """The part before it; -1 for none."""


@dataclass(frozen=True)
class Tree:
    """Items that begin alike, as parts in one flat row: a parent before its children."""

    items: Sequence[Encoded]
    parts: tuple[Part, ...]

    @cached_property
    def row(self) -> Row:
        """Say how the row is to attend."""
        return Row(tuple(part.end - part.start for part in self.parts), tuple(part.parent for part in self.parts))

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Let each part attend to itself and to what it continues: the `Context` of the row."""
        return attend(query, key, value, self.row, scale, causal=True)

    def encoded(self) -> Encoded:
        """Write the row, with the reads of all items in their order."""
        tokens = (self.items[part.items[0]].tokens[part.start : part.end] for part in self.parts)
        places = self.places()
        reads = (places[number][read] for number, item in enumerate(self.items) for read in item.output_positions)
        return Encoded(tuple(chain.from_iterable(tokens)), tuple(reads), ())

    def positions(self) -> list[int]:
        """Say for each token of the row where it stands in its items."""
        return [at for part in self.parts for at in range(part.start, part.end)]

    def places(self) -> list[list[int]]:
        """Say for each item where its tokens stand in the row, those behind its last read left out."""
        places: list[list[int]] = [[] for _ in self.items]
        starts = accumulate((part.end - part.start for part in self.parts), initial=0)
        for start, part in zip(starts, self.parts, strict=False):
            for number in part.items:
                places[number] += range(start, start + part.end - part.start)
        return places


@dataclass(frozen=True)
class Joined:
    """A flat row in which what several items begin with stands once."""

    flat: Flat

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"{self.flat.name}; common beginnings once"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read: `[outputs, classes]`."""
        return self.flat.logits(model, *_laid(items))

    def hidden(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the last hidden state at every read: `[outputs, hidden]`."""
        return self.flat.hidden(model, *_laid(items))

    def places(self, items: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Say for each item where its tokens stand in the row."""
        tree = join(items)
        return self.flat.places(items) if tree is None else tree.places()

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Pick the reads as the flat row does."""
        tree = join(items)
        return self.flat.pick(states, items if tree is None else [tree.encoded()])

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Lay states of items, each `[tokens, hidden]`, as their tokens lie: `[1, row, hidden]`."""
        tree = join(items)
        if tree is None:
            return self.flat.lay(states, items)
        return torch.cat([states[part.items[0]][part.start : part.end] for part in tree.parts]).unsqueeze(0)

    def common(self, items: Sequence[Encoded]) -> int:
        """Say how many tokens the tree's only root has; others may have more in common, which is not counted."""
        if len(items) < 2:
            return 0
        alike = alike_up_to(min(item.tokens for item in items), max(item.tokens for item in items))
        return alike if alike >= LEAST else 0


def _laid(items: Sequence[Encoded]) -> tuple[Sequence[Encoded], Context | None, Sequence[int] | None]:
    """Give the row for a flat layout, what it attends to beside itself, and where its tokens stand."""
    tree = join(items)
    return (items, None, None) if tree is None else ([tree.encoded()], tree, tree.positions())


def join(items: Sequence[Encoded]) -> Tree | None:
    """Find what items begin with in common; None if too little to be worth it.

    >>> rows = [Encoded((*range(10), last), (10,), ()) for last in (20, 30)]
    >>> [(part.items, part.start, part.end, part.parent) for part in join(rows).parts]
    [((0, 1), 0, 10, -1), ((0,), 10, 11, 0), ((1,), 10, 11, 0)]
    """
    if len(items) < 2 or any(item.segments for item in items):
        return None
    needed = [item.tokens[: max(item.output_positions, default=-1) + 1] for item in items]
    parts = _ordered(list(_parts(needed)))
    joined = sum(part.end - part.start for part in parts)
    return Tree(items, parts) if parts and joined <= WORTHWHILE * sum(len(item.tokens) for item in items) else None


def separate(items: Sequence[Encoded]) -> Tree:
    """Give items that have nothing in common as a tree: each is a part of its own."""
    return Tree(items, tuple(Part((number,), 0, len(item.tokens), -1) for number, item in enumerate(items)))


def join_rows(layout: Layout, model: nn.Module, samples: Sequence[Encoded], rows: Sequence[Encoded]) -> Layout:
    """Give the layout that computes common beginnings once, if rows have them and it gives what a flat row gives.

    Args:
        layout: proven for the model.
        model: as it will be trained; if it drops anything at random, each row has to have its own.
        samples: short encoded rows, out of which rows that begin alike are made for the proof.
        rows: those to train on.
    """
    if not isinstance(layout, Flat) or not can_join(model):
        return layout
    if join([sequence for row in rows[:LOOKED_AT] for sequence in row.sequences]) is None:
        return layout
    joined, alike = Joined(layout), branching(samples[:2])
    if join(alike) is None:
        return layout  # they are too short to prove anything
    equal = prove_equal(model, lambda: joined.logits(model, alike), lambda: layout.logits(model, alike))
    return joined if equal else layout


def can_join(model: nn.Module) -> bool:
    """Say whether a model's rows may stand as a tree.

    Other devices' kernels for many sequences know none, and what is dropped at random has to be each row's own.
    """
    return device_of(model).type == "cpu" and not drops(model)


def _parts(sequences: Sequence[tuple[int, ...]]) -> Iterator[Part]:
    """Cut sequences where they part from each other; a part stands behind its parent."""
    waiting = [(sorted((i for i, tokens in enumerate(sequences) if tokens), key=lambda i: sequences[i]), 0, -1)]
    count = 0
    while waiting:
        group, start, parent = waiting.pop()
        if not group:
            continue
        first, last = sequences[group[0]], sequences[group[-1]]
        end = alike_up_to(first, last, start)  # of sequences in order, the first and the last share what all share
        if len(group) == 1 or end - start >= LEAST:
            yield Part(tuple(group), start, end, parent)
            start, parent = end, count
            count += 1
            group = [i for i in group if len(sequences[i]) > end]
        elif end == len(last):  # short ones that are all the same
            for i in group:
                yield Part((i,), start, end, parent)
                count += 1
            continue
        waiting += [
            (list(branch), start, parent) for _, branch in groupby(group, key=lambda i: sequences[i][end : end + 1])
        ]


def _ordered(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Put parts of like size behind like beginnings side by side; a parent begins earlier than its children."""
    order = sorted(range(len(parts)), key=lambda i: (parts[i].start, parts[i].end))
    place = {-1: -1, **{old: new for new, old in enumerate(order)}}
    return tuple(parts[i]._replace(parent=place[parts[i].parent]) for i in order)
