"""Continuous batching: sequences join a batch and leave it while the others are decoded, one token a step.

Each sequence has a row of the cache, in which its prompt's keys and values stand from the first token on. Those of the
last few prompts are kept besides, so that a prompt runs only from where it differs from all of them: after a system
prompt that many requests share, or behind the earlier turns of its own conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.decode import StepAttention
from kamerton.engine.prefill import Budget, KeyValueCache, Prefill, Prompts, merge
from kamerton.engine.prefix_tree import KeyValues, shared_length
from kamerton.engine.prompt_tokens import PLACEHOLDER
from kamerton.engine.shared_prefix import SharedPrefix, common_prefix

LEAST_SHARED = 16
"""Shorter common prefixes are run again: that takes no longer than to copy them."""
KEPT_TOKENS = 8192
"""Most tokens of prompts whose keys and values are kept: 380 MB for a model like SmolLM2-135M in fp32."""
GROWTH = 64
"""Positions by which the rows of the cache grow."""


@dataclass(frozen=True)
class Joining:
    """A prompt that joins the batch."""

    tokens: tuple[int, ...]
    room: int
    """Most new tokens."""


@dataclass
class KeptPrompts:
    """Keys and values of the last prompts, the latest at the end."""

    entries: list[tuple[tuple[int, ...], KeyValues]] = field(default_factory=list)

    def prefix_of(self, tokens: tuple[int, ...]) -> KeyValues:
        """Return the longest kept prefix of a prompt, without its last token; an empty one if none is worthwhile."""
        found = max(self.entries, key=lambda one: shared_length(one[0], tokens), default=None)
        length = min(shared_length(found[0], tokens), len(tokens) - 1) if found else 0
        if found is None or length < LEAST_SHARED:
            return KeyValues()
        self.entries.remove(found)  # used last
        self.entries.append(found)
        keys, values = ({module: one[:, :, :length] for module, one in table.items()} for table in _tables(found[1]))
        return KeyValues(length, keys, values)

    def keep(self, tokens: tuple[int, ...], states: Callable[[], KeyValues]) -> None:
        """Keep a prompt that adds enough to what is kept; the oldest ones make room for it."""
        if any(len(tokens) - shared_length(known, tokens) < LEAST_SHARED for known, _ in self.entries):
            return
        self.entries = [one for one in self.entries if one[0] != tokens[: len(one[0])]]
        self.entries.append((tokens, states()))
        while len(self.entries) > 1 and sum(len(known) for known, _ in self.entries) > KEPT_TOKENS:
            del self.entries[0]


def _tables(states: KeyValues | KeyValueCache) -> tuple[dict[nn.Module, Tensor], dict[nn.Module, Tensor]]:
    return states.keys, states.values


class ContinuousBatch:
    """Sequences that are decoded together.

    Args:
        model: a causal model.
        shared: its proven decoding (`engine.decode.can_decode`).
        budget: of a forward pass, and of the cache.
        ahead: keys and values of the prompt tokens that stand before each prompt, if there are any.
    """

    by_token: ClassVar = True
    """Whether all sequences are one row, whose tokens may each go through their own adapter."""

    def __init__(self, model: nn.Module, shared: SharedPrefix, budget: Budget, ahead: KeyValues | None = None) -> None:
        self.model, self.shared, self.budget, self._ahead = model, shared, budget, ahead or KeyValues()
        self.logits = torch.empty(0)
        """Of each sequence's next token, `[sequences, vocabulary]`."""
        self._cache = KeyValueCache(KeyValues(), torch.empty(0, dtype=torch.long), 0)
        """`[rows, key heads, room, width]` by layer; the first rows are the sequences', the others are free.

        It begins with zeros: a score that is undefined still is so once it is masked."""
        self._ends: list[int] = []
        """The most tokens that each sequence may have."""

    def __len__(self) -> int:
        return len(self._ends)

    def fits(self, joining: Sequence[Joining]) -> bool:
        """Return whether there is memory for more sequences; an empty batch takes any one."""
        longest = max([*(self._ahead.length + len(one.tokens) + one.room for one in joining), *self._ends])
        count = len(self) + len(joining)
        return count == 1 or count * longest <= self.budget.kept

    @torch.no_grad()
    def join(self, joining: Sequence[Joining], kept: KeptPrompts) -> None:
        """Run prompts and append them to the batch, in order; `kept` are those of the same adapter."""
        ahead, groups = (PLACEHOLDER,) * self._ahead.length, dict[int, list[int]]()
        joining = [replace(one, tokens=(*ahead, *one.tokens)) for one in joining]
        prefixes = [max(kept.prefix_of(one.tokens), self._ahead, key=lambda known: known.length) for one in joining]
        for index, prefix in enumerate(prefixes):
            groups.setdefault(prefix.length, []).append(index)
        first = len(self)
        self._grow(first + len(joining), max(len(one.tokens) + one.room for one in joining))
        self._ends += [len(one.tokens) + one.room for one in joining]
        own = torch.tensor([len(one.tokens) for one in joining])
        self._cache.lengths = torch.cat([self._cache.lengths, own])
        logits: dict[int, Tensor] = {}
        for indices in groups.values():
            prompts = [Encoded(joining[index].tokens, (), ()) for index in indices]
            prefix = prefixes[indices[0]]
            if not prefix.length and len(common := common_prefix(prompts)) >= LEAST_SHARED:
                prefix = self.shared.run_prefix(self.model, common)
            elif len({prompt.tokens[: prefix.length] for prompt in prompts}) > 1:  # of one length, but not the same
                for index in indices:
                    logits |= self._run([index], prefixes[index], first, joining)
                continue
            logits |= self._run(indices, prefix, first, joining)
        new = torch.stack([logits[index] for index in range(len(joining))])
        self.logits = torch.cat([self.logits, new]) if first else new
        for at, one in enumerate(joining, first):
            kept.keep(one.tokens, partial(self._states, at, len(one.tokens)))

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the chosen sequences, in this order, which must be rising; the rows of the others are free."""
        if len(indices) == len(self):
            return
        moved = [(to, at) for to, at in enumerate(indices) if to != at]
        for table in _tables(self._cache):
            for states in table.values():
                for to, at in moved:
                    states[to, :, : self._ends[at]] = states[at, :, : self._ends[at]]
        chosen = torch.tensor(indices, dtype=torch.long)
        self._cache.lengths, self.logits = self._cache.lengths[chosen], self.logits[chosen.to(self.logits.device)]
        self._ends = [self._ends[index] for index in indices]

    @torch.no_grad()
    def add(self, tokens: Sequence[int]) -> None:
        """Add one token to each sequence."""
        cache = KeyValueCache(KeyValues(), self._cache.lengths, self._cache.room)
        for mine, all_rows in zip(_tables(cache), _tables(self._cache), strict=True):
            mine.update({module: states[: len(self)] for module, states in all_rows.items()})
        row = [Encoded((token,), (0,), ()) for token in tokens]
        positions = cache.lengths.tolist()
        packed = replace(self.shared.packed, context=StepAttention(cache), positions=positions)
        self.logits = packed.logits(self.model, row)
        self._cache.lengths += 1

    def _run(
        self, indices: Sequence[int], prefix: KeyValues, first: int, joining: Sequence[Joining]
    ) -> dict[int, Tensor]:
        """Run prompts behind a prefix into their rows; return the logits behind each, by index."""
        prompts = [Encoded(joining[index].tokens, (), ()) for index in indices]
        done, _ = Prefill(self.model, self.shared, prefix, (), self.budget).run(merge((), prompts), 1)
        self._copy(done, [first + indices[at] for at in done.indices])
        return {indices[at]: logits for at, logits in zip(done.indices, done.logits, strict=True)}

    def _copy(self, done: Prompts, rows: Sequence[int]) -> None:
        """Copy what was run into its rows, behind the prefix if that stands apart."""
        apart = done.cache.prefix
        for mine, new, ahead in zip(_tables(self._cache), _tables(done.cache), _tables(apart), strict=True):
            for module, states in new.items():
                if module not in mine:
                    _, heads, _, width = states.shape
                    mine[module] = states.new_zeros(self._rows, heads, self._cache.room, width)
                for at, row in enumerate(rows):
                    length = int(done.cache.lengths[at])
                    if apart.length:
                        mine[module][row, :, : apart.length] = ahead[module][0]
                    mine[module][row, :, apart.length : apart.length + length] = states[at, :, :length]

    def _states(self, row: int, length: int) -> KeyValues:
        """Copy the keys and values of a row's first tokens."""
        keys, values = (
            {module: states[row : row + 1, :, :length].clone() for module, states in table.items()}
            for table in _tables(self._cache)
        )
        return KeyValues(length, keys, values)

    _rows = 0
    """How many rows the cache has."""

    def _grow(self, rows: int, room: int) -> None:
        """Grow the cache to at least so many rows and positions; create the cache of an empty batch."""
        room = -(-room // GROWTH) * GROWTH
        if len(self) and rows <= self._rows and room <= self._cache.room:
            return
        if len(self):
            room = max(room, self._cache.room)
            rows = max(rows, min(2 * self._rows, self.budget.kept // room))  # so that few joins copy the cache
        for table in _tables(self._cache):
            for module, states in table.items():
                _, heads, _, width = states.shape
                table[module] = states.new_zeros(rows, heads, room, width)
                if len(self):
                    table[module][: len(self), :, : states.shape[2]] = states[: len(self)]
        self._rows, self._cache.room = rows, room
