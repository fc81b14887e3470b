"""Prefill: prompts are run before they are continued, and each layer's keys and values of them are cached.

A sequence is run once, whatever for: where it is the true answer behind its prompt, its losses are computed in the
pass that fills the prompt's part of the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.merged import MergedSequence, PromptPrefix
from kamerton.engine.passes import split_passes
from kamerton.engine.prefix_tree import KeyValues, MaskedAttention, separate
from kamerton.engine.shared_prefix import SharedPrefix
from kamerton.forms.supervision import target_losses
from kamerton.models.structure import device_of

COPIED = 128
"""Longest shared prefix that is copied before each sequence: attention to one cache is faster than to two."""


@dataclass(frozen=True)
class Budget:
    """How much may be in memory at once."""

    tokens: int
    """Most tokens in one forward pass."""
    outputs: int
    """Most output positions in one forward pass."""
    kept: int
    """Most tokens of prompts and answers whose keys and values are cached."""


@dataclass
class KeyValueCache:
    """Keys and values of sequences behind a prefix, by attention layer: `[sequences, key heads, room, width]` each."""

    prefix: KeyValues
    lengths: Tensor
    """How many tokens of each sequence are cached, `[sequences]`; a short prefix is copied into the cache."""
    room: int
    keys: dict[nn.Module, Tensor] = field(default_factory=dict)
    values: dict[nn.Module, Tensor] = field(default_factory=dict)

    def keep(self, chosen: Tensor) -> None:
        """Keep only the chosen sequences, by index."""
        self.lengths = self.lengths[chosen]
        for table in (self.keys, self.values):
            for module, states in table.items():
                table[module] = states[chosen]


class PromptSlot(NamedTuple):
    """A prompt's sequence in the cache, and its tokens in the packed row."""

    sequence: int
    start: int
    end: int


@dataclass(frozen=True)
class CachingAttention:
    """The attention context of sequences that fills the cache of the prompts among them."""

    attention: MaskedAttention
    cache: KeyValueCache
    copies: tuple[PromptSlot, ...]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each sequence and to the prefix; cache the prompts' keys and values."""
        prefix = self.attention.tree.prefix
        self._copy(self.cache.keys, module, key, prefix.keys)
        self._copy(self.cache.values, module, value, prefix.values)
        return self.attention.attend(module, query, key, value, scale)

    def _copy(
        self, table: dict[nn.Module, Tensor], module: nn.Module, states: Tensor, prefix: dict[nn.Module, Tensor]
    ) -> None:
        copied = self.attention.tree.prefix.length - self.cache.prefix.length
        if module not in table:
            _, heads, _, width = states.shape
            table[module] = states.new_zeros(len(self.cache.lengths), heads, self.cache.room, width)
            if copied:
                table[module][:, :, :copied] = prefix[module]
        for sequence, start, end in self.copies:
            table[module][sequence, :, copied : copied + end - start] = states[0, :, start:end]


@dataclass(frozen=True)
class Prompts:
    """Prompts that were run and may be continued."""

    indices: tuple[int, ...]
    """Which ones, in the order of the cache's sequences."""
    cache: KeyValueCache
    logits: Tensor
    """Of each one's next token, `[prompts, vocabulary]`."""


@dataclass(frozen=True)
class Prefill:
    """Runs sequences behind a prefix."""

    model: nn.Module
    shared: SharedPrefix
    prefix: KeyValues
    items: Sequence[Encoded]
    """What is scored."""
    budget: Budget

    def run(self, sequences: Sequence[MergedSequence], new: int) -> tuple[Prompts, dict[int, float]]:
        """Run sequences; return their prompts, with room for `new` tokens each, and their items' losses by index."""
        prompts = [prompt for sequence in sequences for prompt in sequence.prompts]
        cache = self._empty_cache([prompt.length for prompt in prompts], new)
        after, losses = dict[int, Tensor](), dict[int, float]()
        outputs = [sequence.output_positions(self.items) for sequence in sequences]
        lengths = [len(sequence.tokens) - self.prefix.length for sequence in sequences]
        for batch in split_passes(lengths, [len(own) for own in outputs], self.budget.tokens, self.budget.outputs):
            passed = self._logits([sequences[i] for i in batch], cache, prompts)
            for i, logits in zip(batch, passed, strict=True):
                place = {position: at for at, position in enumerate(outputs[i])}
                after.update({prompt.prompt: logits[place[prompt.length - 1]] for prompt in sequences[i].prompts})
                losses.update(self._losses(sequences[i], place, logits))
        indices = tuple(prompt.prompt for prompt in prompts)
        together = torch.stack([after[index] for index in indices]) if indices else torch.empty(0)
        return Prompts(indices, cache, together), losses

    def _empty_cache(self, lengths: Sequence[int], new: int) -> KeyValueCache:
        """Return an empty cache; a short prefix will be copied before each of its sequences."""
        apart = self.prefix if self.prefix.length > COPIED else KeyValues()
        own = torch.tensor(lengths, dtype=torch.long, device=device_of(self.model)) - apart.length
        return KeyValueCache(apart, own, max(lengths, default=0) - apart.length + new)

    def _logits(
        self, sequences: Sequence[MergedSequence], cache: KeyValueCache, prompts: Sequence[PromptPrefix]
    ) -> tuple[Tensor, ...]:
        """Run sequences in one pass; return the logits at each one's output positions."""
        items = [sequence.encoded(self.items) for sequence in sequences]
        tree = separate(items, self.prefix)
        number = {prompt: index for index, prompt in enumerate(prompts)}
        copies = tuple(
            PromptSlot(number[prompt], at, at + prompt.length - self.prefix.length)
            for at, sequence in zip(tree.row.starts, sequences, strict=True)
            for prompt in sequence.prompts
        )
        context = CachingAttention(MaskedAttention(tree), cache, copies)
        logits = self.shared.packed.logits(self.model, [tree.encoded()], context, tree.positions())
        return logits.split([len(item.output_positions) for item in items])

    def _losses(self, sequence: MergedSequence, place: Mapping[int, int], logits: Tensor) -> dict[int, float]:
        items = [self.items[index] for index in sequence.items]
        if not items:
            return {}
        at = torch.tensor(
            [place[position] for item in items for position in item.output_positions], device=logits.device
        )
        return dict(zip(sequence.items, target_losses(logits[at].float(), items).tolist(), strict=True))


def token_bytes(model: nn.Module, shared: SharedPrefix) -> int:
    """Return the bytes that the keys and values of one token take."""
    prefix = shared.run_prefix(model, (1,))
    return sum(states.nbytes for table in (prefix.keys, prefix.values) for states in table.values())
