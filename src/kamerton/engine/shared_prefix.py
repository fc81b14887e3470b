"""Layouts that compute shared prefixes once: as a tree in each pass in training, over many passes at inference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from torch import Tensor, nn

from kamerton.core.messages import Message, msg
from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout, Packed, in_order
from kamerton.engine.packed import Context
from kamerton.engine.passes import split_passes
from kamerton.engine.prefix_tree import (
    MIN_SHARED,
    GatheredAttention,
    KeyValues,
    MaskedAttention,
    PrefixTree,
    branched,
    join,
    shared_length,
)
from kamerton.engine.verify import prove_equal
from kamerton.kernels.dropout import drops
from kamerton.models.structure import device_of

WORTHWHILE = 0.9
"""Largest share of the tokens that may remain for shared prefixes to be worth their masks at inference."""
INSPECTED_ROWS = 64
"""Rows that are inspected to see whether the data share prefixes."""


@dataclass(frozen=True)
class PackedTree(Layout):
    """A packed row in which each prefix that items share stands once."""

    packed: Packed

    @property
    def name(self) -> Message:
        """The layout below, and what is computed once."""
        return msg("{layout}; shared prefixes computed once", layout=self.packed.name)

    def run(self, model: nn.Module, items: Sequence[Encoded]) -> Any:
        """Run the model on the tree."""
        return run_tree(self.packed, model, tree) if (tree := join(items)) else self.packed.run(model, items)

    def places(self, items: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Return, for each item, the indices of its tokens in the row."""
        return tree.places() if (tree := join(items)) else self.packed.places(items)

    def pick(self, states: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Select the output positions from `[1, row, hidden]`."""
        return self.packed.pick(states, [tree.encoded()] if (tree := join(items)) else items)

    def lay(self, states: Sequence[Tensor], items: Sequence[Encoded]) -> Tensor:
        """Arrange states of items, each `[tokens, hidden]`, as their tokens are: `[1, row, hidden]`."""
        if tree := join(items):
            states = [states[part.items[0]][part.start : part.end] for part in tree.parts]
        return self.packed.lay(states, items)

    def common(self, items: Sequence[Encoded]) -> int:
        """Return the length of the prefix that all items share; what only some share is not counted."""
        if len(items) < 2:
            return 0
        length = shared_length(min(item.tokens for item in items), max(item.tokens for item in items))
        return length if length >= MIN_SHARED else 0


def run_tree(packed: Packed, model: nn.Module, tree: PrefixTree) -> Any:
    """Run a model on a tree as one packed row, with gradients."""
    placed = replace(packed, context=GatheredAttention(tree), positions=tree.positions())
    return placed.run(model, [tree.encoded()])


def join_rows(layout: Layout, model: nn.Module, samples: Sequence[Encoded], rows: Sequence[Encoded]) -> Layout:
    """Return the layout that computes shared prefixes once, if rows have them and rows made of `samples` prove it."""
    sequences = [sequence for row in rows[:INSPECTED_ROWS] for sequence in row.sequences]
    if not isinstance(layout, Packed) or not can_join(model) or join(sequences) is None:
        return layout
    tree, made = PackedTree(layout), branching(samples[:2])
    if join(made) is None:
        return layout  # too short to prove anything
    equal = prove_equal(model, partial(tree.logits, model, made), partial(layout.logits, model, made))
    return tree if equal else layout


def can_join(model: nn.Module) -> bool:
    """Return whether a model's rows may share prefixes in training: on a CPU, whose kernel knows trees, no dropout."""
    return device_of(model).type == "cpu" and not drops(model)


Pass = tuple[Sequence[int], Tensor]
"""The indices of items that were run together, and the logits at all their output positions, `[outputs, classes]`."""


@dataclass(frozen=True)
class SharedPrefix:
    """Inference behind a prefix that is computed once; answers to one prompt are branches of it."""

    packed: Packed

    def run_prefix(self, model: nn.Module, tokens: tuple[int, ...]) -> KeyValues:
        """Compute the keys and values of a prefix."""
        prefix = KeyValues(len(tokens))
        if tokens:
            replace(self.packed, context=prefix).logits(model, [Encoded(tokens, (len(tokens) - 1,), ())])
        return prefix

    def logits(self, model: nn.Module, tree: PrefixTree, attention: Context | None = None) -> Tensor:
        """Return the logits at every output position of the tree's items, in order: `[outputs, classes]`."""
        packed = replace(self.packed, context=attention or MaskedAttention(tree), positions=tree.positions())
        return packed.logits(model, [tree.encoded()])

    def passes(self, model: nn.Module, items: Sequence[Encoded], max_tokens: int, max_outputs: int) -> Iterator[Pass]:
        """Run items in passes of at most so many tokens and output positions."""
        prefix = self.run_prefix(model, common_prefix(items))
        groups = alike_to_first_output(items)
        shapes = [[part.length for part in branched(items, [group], prefix).parts] for group in groups]
        # subtrees of one shape are neighbors, so that they share a mask
        order = sorted(range(len(groups)), key=lambda i: (-sum(shapes[i]), [-length for length in shapes[i]]))
        outputs = [sum(len(items[index].output_positions) for index in group) for group in groups]
        lengths, outputs = [sum(shapes[i]) for i in order], [outputs[i] for i in order]
        for batch in split_passes(lengths, outputs, max_tokens, max_outputs):
            chosen = [groups[order[i]] for i in batch]
            yield list(chain.from_iterable(chosen)), self.logits(model, branched(items, chosen, prefix))


def prove_shared_prefix(model: nn.Module, layout: Layout, samples: Sequence[Encoded]) -> SharedPrefix | None:
    """Return the way to compute shared prefixes once at inference, if it is proven equal on rows made of samples."""
    if not isinstance(layout, Packed):
        return None
    shared, rows = SharedPrefix(layout), branching(samples)

    def got() -> Tensor:
        whole = sum(len(row.tokens) for row in rows)
        [(indices, logits)] = shared.passes(model, rows, whole, whole)
        return in_order(logits, rows, indices)

    return shared if prove_equal(model, got, partial(layout.logits, model, rows)) else None


def worth_sharing(items: Sequence[Encoded]) -> bool:
    """Return whether computing shared prefixes once saves enough tokens at inference."""
    prefix = KeyValues(len(common_prefix(items)))
    tree = branched(items, alike_to_first_output(items), prefix)
    whole = sum(item.output_positions[-1] + 1 for item in items)
    return prefix.length + sum(tree.row.lengths) <= WORTHWHILE * whole


def common_prefix(items: Sequence[Encoded]) -> tuple[int, ...]:
    """Return the tokens that all items begin with, before the first output position.

    >>> common_prefix([Encoded((1, 2, 3), (2,), ()), Encoded((1, 2, 4), (1,), ())])
    (1,)
    """
    if len(items) < 2:
        return ()
    room = min(min((*item.output_positions, len(item.tokens) - 1)) for item in items)
    first, last = min(item.tokens[:room] for item in items), max(item.tokens[:room] for item in items)
    return first[: shared_length(first, last)]  # in sorted order the first and the last share what all share


def alike_to_first_output(items: Sequence[Encoded]) -> list[list[int]]:
    """Group items, by index, that are equal up to their first output position."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(items):
        if item.output_positions:
            groups.setdefault(item.tokens[: item.output_positions[0] + 1], []).append(index)
    return list(groups.values())


def branching(samples: Sequence[Encoded]) -> list[Encoded]:
    """Make sequences with shared prefixes and branches out of a few rows, for a proof."""
    ends = [item.tokens[-2:] for item in samples]
    bodies = [item.tokens[:-2] or item.tokens for item in samples]
    made = [(*bodies[0], *body, *end) for body in bodies for end in ends]
    return [Encoded(tokens, (len(tokens) - 3, len(tokens) - 2), (0, 0)) for tokens in made]
