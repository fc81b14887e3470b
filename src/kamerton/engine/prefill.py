"""Prefill: prompts are run before they are continued, and each layer's keys and values of them are cached.

The loss of a true answer needs its prompt, and so does decoding. So a sequence is run once, whatever for: the true
answer is run behind its prompt, and decoding continues from the same keys and values. Prompts that are answered several
times, and the turns of a conversation, are prefixes of one sequence as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.passes import split_passes
from kamerton.engine.prefix_tree import KeyValues, MaskedAttention, separate
from kamerton.engine.shared_prefix import SharedPrefix
from kamerton.forms.supervision import target_losses

COPIED = 128
"""Longest shared prefix that is copied before each sequence: attention to one cache is faster than to two."""


@dataclass(frozen=True)
class PromptPrefix:
    """A prompt that a merged sequence begins with: its index and length."""

    prompt: int
    length: int


@dataclass(frozen=True)
class MergedSequence:
    """A sequence that is run once for all items and prompts that are prefixes of it."""

    tokens: tuple[int, ...]
    items: tuple[int, ...] = ()
    """The items that are scored on it, by index."""
    prompts: tuple[PromptPrefix, ...] = ()
    """The prompts that it begins with."""

    def output_positions(self, items: Sequence[Encoded]) -> tuple[int, ...]:
        """Return the output positions, in order: those of the items, and each prompt's last one."""
        scored = (position for index in self.items for position in items[index].output_positions)
        return tuple(sorted({*scored, *(prompt.length - 1 for prompt in self.prompts)}))

    def encoded(self, items: Sequence[Encoded]) -> Encoded:
        """Return the sequence with its output positions."""
        return Encoded(self.tokens, self.output_positions(items), ())

    @property
    def longest(self) -> int:
        """Return the length of its longest prompt; 0 if it has none."""
        return max((prompt.length for prompt in self.prompts), default=0)


def merge(items: Sequence[Encoded], prompts: Sequence[Encoded]) -> list[MergedSequence]:
    """Return the fewest sequences that all items and prompts are prefixes of.

    In sorted order, sequences directly follow their prefixes. So in reverse order each sequence is compared with the
    last merged one, and joins it or becomes one. What follows an item's last output position is left out.

    >>> [one.tokens for one in merge([Encoded((1, 2, 3, 4), (1, 2), ())], [Encoded((1, 2), (), ())])]
    [(1, 2, 3)]
    """
    known = [(index, item.output_positions[-1] + 1) for index, item in enumerate(items) if item.output_positions]
    scored = [(items[index].tokens[:end], index, True) for index, end in known]
    asked = [(prompt.tokens, index, False) for index, prompt in enumerate(prompts)]
    merged: list[MergedSequence] = []
    for tokens, index, is_item in sorted(scored + asked, reverse=True):
        if not merged or merged[-1].tokens[: len(tokens)] != tokens:
            merged.append(MergedSequence(tokens))
        last = merged[-1]
        if is_item:
            merged[-1] = replace(last, items=(*last.items, index))
        else:
            merged[-1] = replace(last, prompts=(*last.prompts, PromptPrefix(index, len(tokens))))
    return merged


def decoding_batches(
    sequences: Sequence[MergedSequence], new: int, tokens: int, prompts: int
) -> Iterator[list[MergedSequence]]:
    """Group sequences whose prompts are answered together, those with the longest prompts first.

    At most so many `prompts` are together, and so many `tokens` cached, each prompt counted as long as the longest with
    its `new` tokens. A sequence with more prompts than fit is run again for each group of them.
    """
    parts = [part for sequence in sequences for part in _split(sequence, new, tokens, prompts)]
    batch: list[MergedSequence] = []
    count = longest = 0
    for part in sorted(parts, key=lambda part: -part.longest):
        longest, count = max(longest, part.longest), count + len(part.prompts)
        if batch and (count > prompts or count * (longest + new) > tokens):
            yield batch
            batch, count, longest = [], len(part.prompts), part.longest
        batch.append(part)
    if batch:
        yield batch


def _split(sequence: MergedSequence, new: int, tokens: int, prompts: int) -> Iterator[MergedSequence]:
    """Split a sequence that has too many prompts; its items are scored once."""
    fit = max(1, min(prompts, tokens // max(1, sequence.longest + new)))
    yield replace(sequence, prompts=sequence.prompts[:fit])
    for at in range(fit, len(sequence.prompts), fit):
        some = sequence.prompts[at : at + fit]
        yield MergedSequence(sequence.tokens[: max(prompt.length for prompt in some)], prompts=some)


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
    """How many tokens of each sequence are cached, `[sequences]`, on the host; a short prefix is copied there."""
    room: int
    keys: dict[nn.Module, Tensor] = field(default_factory=dict)
    values: dict[nn.Module, Tensor] = field(default_factory=dict)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the chosen sequences."""
        chosen = torch.tensor(indices)
        self.lengths = self.lengths[chosen]
        for table in (self.keys, self.values):
            for module, states in table.items():
                table[module] = states[chosen.to(states.device)]


@dataclass(frozen=True)
class CachingAttention:
    """The attention context of sequences that fills the cache of the prompts among them."""

    attention: MaskedAttention
    cache: KeyValueCache
    copies: tuple[tuple[int, int, int], ...]
    """Each prompt's sequence in the cache, and where its tokens begin and end in the packed row."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each sequence and to the prefix; cache the prompts' keys and values."""
        prefix, cache = self.attention.tree.prefix, self.cache
        copied = prefix.length - cache.prefix.length
        for table, states, ahead in ((cache.keys, key, prefix.keys), (cache.values, value, prefix.values)):
            if module not in table:
                _, heads, _, width = states.shape
                table[module] = states.new_zeros(len(cache.lengths), heads, cache.room, width)
                if copied:
                    table[module][:, :, :copied] = ahead[module]
            for sequence, start, end in self.copies:
                table[module][sequence, :, copied : copied + end - start] = states[0, :, start:end]
        return self.attention.attend(module, query, key, value, scale)


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
        apart = self.prefix if self.prefix.length > COPIED else KeyValues()
        own = [prompt.length - apart.length for prompt in prompts]
        known = torch.tensor(own, dtype=torch.long)
        cache = KeyValueCache(apart, known, max(own, default=0) + new)
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

    def _logits(
        self, sequences: Sequence[MergedSequence], cache: KeyValueCache, prompts: Sequence[PromptPrefix]
    ) -> tuple[Tensor, ...]:
        """Run sequences in one pass; return the logits at each one's output positions."""
        items = [sequence.encoded(self.items) for sequence in sequences]
        tree = separate(items, self.prefix)
        number = {prompt: index for index, prompt in enumerate(prompts)}
        copies = tuple(
            (number[prompt], at, at + prompt.length - self.prefix.length)
            for at, sequence in zip(tree.row.starts, sequences, strict=True)
            for prompt in sequence.prompts
        )
        logits = self.shared.logits(self.model, tree, CachingAttention(MaskedAttention(tree), cache, copies))
        return logits.split([len(item.output_positions) for item in items])

    def _losses(self, sequence: MergedSequence, place: Mapping[int, int], logits: Tensor) -> dict[int, float]:
        items = [self.items[index] for index in sequence.items]
        if not items:
            return {}
        at = torch.tensor(
            [place[position] for item in items for position in item.output_positions], device=logits.device
        )
        return dict(zip(sequence.items, target_losses(logits[at].float(), items).tolist(), strict=True))
