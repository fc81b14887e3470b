"""What sequences have in common is computed once, where a causal model is only read.

Twelve labels scored after one prompt are twelve sequences that differ in their last tokens; a prompt
with solved examples stands before every row. The tokens that all sequences begin with (the trunk) run
once, and each layer's keys and values of them are kept. Sequences that share a stem after that run as
one with several branches: a branch sees the trunk, the stem and itself, and stands where it would
stand alone. Exact, and proven like every layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core.records import Encoded
from kamerton.engine.layout import Flat, Layout, prove_equal
from kamerton.engine.packed import apart, attend_within
from kamerton.engine.passes import split_passes
from kamerton.models.causal import attend_causally, is_fast

WORTHWHILE = 0.9
"""Share of the tokens that may be left for common beginnings to be worth it."""


MASKED = 1 << 24
"""Most numbers of a mask for sequences that do not branch: 64 MB."""


@dataclass
class Trunk:
    """Keys and values of the tokens that all sequences begin with, by attention layer.

    While it is filled, it is the context of its own tokens.
    """

    tokens: tuple[int, ...]
    keys: dict[nn.Module, Tensor] = field(default_factory=dict)
    """`[1, key heads, tokens, width]` each; `values` alike."""
    values: dict[nn.Module, Tensor] = field(default_factory=dict)

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within the trunk, and keep its keys and values."""
        self.keys[module], self.values[module] = key, value
        return attend_within(query, key, value, [len(self.tokens)], scale)

    def before(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put the trunk before keys and values of some sequences, `[sequences, key heads, length, width]`."""
        if not self.tokens:
            return key, value
        ahead = (kept[module].expand(len(key), -1, -1, -1) for kept in (self.keys, self.values))
        first, second = ahead
        return torch.cat([first, key], dim=2), torch.cat([second, value], dim=2)


@dataclass(frozen=True)
class Stem:
    """Sequences that begin alike, written as one: the common part, then each one's own end."""

    items: tuple[int, ...]
    """Which sequences these are."""
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    branches: tuple[int, ...]
    """The branch that each token belongs to; -1 in the common part."""
    output_positions: tuple[int, ...]
    """Where each read of each sequence stands, in order."""


@dataclass(frozen=True)
class Alike:
    """Neighbours in a flat row that branch alike, so that one mask serves them all."""

    count: int
    start: int
    end: int
    """Their tokens in the row."""
    branches: bool
    """Whether they do branch."""
    seen: Tensor | None
    """What is added to the scores, `[tokens, trunk + tokens]`; None where each token sees all before it and torch's
    causal kernel does."""


@dataclass(frozen=True)
class Stems:
    """The context of stems in a flat row: the trunk before each, and its own branches."""

    trunk: Trunk
    stems: tuple[Stem, ...]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each stem and to the trunk."""
        parts = []
        for run in self._runs:
            q, k, v = (apart(x[0, :, run.start : run.end], run.count) for x in (query, key, value))
            k, v = self.trunk.before(module, k, v)
            if not run.branches and is_fast(q):
                attended = attend_causally(q, k, v, scale)
            elif run.seen is None:
                attended = _to_all_before(q, k, v, scale)
            else:
                attended = _attend(q, k, v, scale, run.seen)
            parts.append(attended.transpose(1, 2).reshape(run.end - run.start, q.shape[1], q.shape[3]))
        return torch.cat(parts)

    @cached_property
    def _runs(self) -> list[Alike]:
        """Find the neighbours that branch alike: the same in every layer."""
        runs, start, before = list[Alike](), 0, len(self.trunk.tokens)
        for branches, group in groupby(stem.branches for stem in self.stems):
            count = len(list(group))
            end = start + count * len(branches)
            runs.append(Alike(count, start, end, set(branches) != {-1}, visible(branches, before)))
            start = end
        return runs


@dataclass(frozen=True)
class Shared:
    """A layout for reading: a flat row of stems behind a trunk."""

    flat: Flat

    @property
    def name(self) -> str:
        """Name the layout with its reason."""
        return f"{self.flat.name}; common beginnings once"

    def logits(self, model: nn.Module, items: Sequence[Encoded]) -> Tensor:
        """Give the head's output at every read of every item, in order: `[outputs, classes]`."""
        trunk = self.run_trunk(model, common_beginning(items))
        return self.logits_after(model, trunk, items, stems_of(items, len(trunk.tokens)))

    def run_trunk(self, model: nn.Module, tokens: tuple[int, ...]) -> Trunk:
        """Run the tokens that all sequences begin with, and keep what later tokens need of them."""
        trunk = Trunk(tokens)
        if tokens:
            self.flat.logits(model, [Encoded(tokens, (len(tokens) - 1,), ())], context=trunk)
        return trunk

    def logits_after(self, model: nn.Module, trunk: Trunk, items: Sequence[Encoded], stems: Sequence[Stem]) -> Tensor:
        """Return the logits at the stems' output positions, in the order of `items`: `[outputs, classes]`."""
        row = [Encoded(stem.tokens, stem.output_positions, ()) for stem in stems]
        positions = [position for stem in stems for position in stem.positions]
        logits = self.flat.logits(model, row, context=Stems(trunk, tuple(stems)), positions=positions)
        order = [index for stem in stems for index in stem.items]
        parts = dict(zip(order, logits.split([len(items[index].output_positions) for index in order]), strict=True))
        return torch.cat([parts[index] for index in sorted(parts)])

    def passes(self, model: nn.Module, items: Sequence[Encoded], tokens: int, reads: int) -> Iterator[Pass]:
        """Run items in passes of at most so many tokens and reads, the longest stems first."""
        trunk = self.run_trunk(model, common_beginning(items))
        stems = sorted(stems_of(items, len(trunk.tokens)), key=lambda stem: (-len(stem.tokens), stem.branches))
        for batch in split_passes(
            [len(stem.tokens) for stem in stems], [len(stem.output_positions) for stem in stems], tokens, reads
        ):
            chosen = [stems[i] for i in batch]
            indices = sorted(index for stem in chosen for index in stem.items)
            yield Pass(indices, self.logits_after(model, trunk, items, chosen))


@dataclass(frozen=True)
class Pass:
    """What one pass through a model gave."""

    indices: list[int]
    """The items that were read, in order."""
    logits: Tensor
    """At all their reads, `[outputs, classes]`."""


def begin_alike(items: Sequence[Encoded]) -> bool:
    """Say whether running common beginnings once saves enough tokens to be worth its masks."""
    trunk = len(common_beginning(items))
    needed = trunk + sum(len(stem.tokens) for stem in stems_of(items, trunk))
    return needed <= WORTHWHILE * sum(item.output_positions[-1] + 1 for item in items)


def prove_shared(model: nn.Module, layout: Layout, samples: Sequence[Encoded]) -> Shared | None:
    """Give the layout of common beginnings if it gives the results of the flat one, on rows made of samples."""
    if not isinstance(layout, Flat):
        return None
    shared, rows = Shared(layout), branching(samples)
    equal = prove_equal(model, lambda: shared.logits(model, rows), lambda: layout.logits(model, rows))
    return shared if equal else None


def common_beginning(items: Sequence[Encoded]) -> tuple[int, ...]:
    """Give the tokens that all items begin with, up to where the first of them is read.

    >>> common_beginning([Encoded((1, 2, 3), (2,), ()), Encoded((1, 2, 4), (1,), ())])
    (1,)
    """
    if len(items) < 2:
        return ()
    room = min(min((*item.output_positions, len(item.tokens) - 1)) for item in items)
    shortest, longest = min(item.tokens[:room] for item in items), max(item.tokens[:room] for item in items)
    # of sequences in order, the first and the last share what all share
    return shortest[: alike_up_to(shortest, longest)]


def alike_up_to(one: Sequence[int], other: Sequence[int], start: int = 0) -> int:
    """Say up to where two sequences are the same that are so up to a start.

    >>> alike_up_to((1, 2, 3), (1, 2, 4, 5))
    2
    """
    limit = min(len(one), len(other))
    return next((at for at in range(start, limit) if one[at] != other[at]), limit)


def stems_of(items: Sequence[Encoded], trunk: int) -> list[Stem]:
    """Join items that are alike up to their first read; what follows an item's last read is left out.

    Args:
        items: each with its reads in order.
        trunk: how many of their first tokens run elsewhere.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(items):
        if item.output_positions:
            alike.setdefault(item.tokens[: item.output_positions[0] + 1], []).append(index)
    return [_stem(items, indices, trunk) for indices in alike.values()]


def _to_all_before(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """Compute attention to all tokens before, those of a trunk included: `[sequences, heads, length, width]`.

    torch's causal kernel takes as many queries as keys, and leaves out what they do not see: the trunk's queries are
    made up, and their answers are thrown away.
    """
    ahead = key.shape[2] - query.shape[2]
    if ahead:
        query = torch.cat([query.new_zeros(*query.shape[:2], ahead, query.shape[3]), query], dim=2)
    return _attend(query, key, value, scale, None)[:, :, ahead:]


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: Tensor | None) -> Tensor:
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if mask is None else mask.to(query),
        is_causal=mask is None and query.shape[2] > 1,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def visible(branches: Sequence[int], trunk: int) -> Tensor | None:
    """Say which token of a stem sees which, as what is added to scores: 0 or minus infinity.

    Args:
        branches: of each token, -1 in the common part.
        trunk: how many tokens stand before the stem.

    Returns:
        `[tokens, trunk + tokens]`; None if each token sees just those before it and torch's causal kernel, which takes
        as many queries as keys, has less to do than one with a mask.
    """
    count = len(branches)
    if set(branches) == {-1} and (trunk <= count or count * (trunk + count) > MASKED):
        return None
    branch = torch.tensor(branches)
    below = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
    own = below & ((branch[None, :] == -1) | (branch[None, :] == branch[:, None]))
    hidden = torch.zeros(own.shape).masked_fill(~own, float("-inf"))
    return torch.cat([torch.zeros(len(branch), trunk), hidden], dim=1)


def _stem(items: Sequence[Encoded], indices: Sequence[int], trunk: int) -> Stem:
    first = items[indices[0]]
    length = first.output_positions[0] + 1
    own = [items[index].tokens[length : items[index].output_positions[-1] + 1] for index in indices]
    alone = int(len(indices) == 1)  # then it has no branches
    starts = list(accumulate((len(tokens) for tokens in own), initial=length - trunk))
    reads = [
        read - trunk if read < length else start + read - length
        for index, start in zip(indices, starts, strict=False)
        for read in items[index].output_positions
    ]
    return Stem(
        tuple(indices),
        (*first.tokens[trunk:length], *(token for tokens in own for token in tokens)),
        (*range(trunk, length), *(length + at for tokens in own for at in range(len(tokens)))),
        (*(-1 for _ in range(trunk, length)), *(branch for branch, tokens in enumerate(own, -alone) for _ in tokens)),
        tuple(reads),
    )


def branching(samples: Sequence[Encoded]) -> list[Encoded]:
    """Make sequences that share trunks and stems out of a few rows, to prove the layout on."""
    ends = [item.tokens[-2:] for item in samples]
    whole = [item.tokens[:-2] or item.tokens for item in samples]
    joined = [(*whole[0], *body, *end) for body in whole for end in ends]
    return [
        replace(
            samples[0], tokens=tokens, output_positions=tuple(range(len(tokens) - 3, len(tokens) - 1)), targets=(0, 0)
        )
        for tokens in joined
    ]
