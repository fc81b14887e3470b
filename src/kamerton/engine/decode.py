"""Decoding token by token: prompts together without padding, the prefix that they share computed once.

Each layer's keys and values of all tokens so far are cached. A sequence that has ended leaves the cache, so that the
longest answer does not slow the others down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core.records import Encoded
from kamerton.engine.prefill import Budget, KeyValueCache, Prefill, decoding_batches, merge
from kamerton.engine.prefix_tree import KeyValues
from kamerton.engine.shared_prefix import SharedPrefix, common_prefix
from kamerton.engine.verify import prove_equal, some_tokens
from kamerton.kernels.prepacked import prepacked

Choose = Callable[[Tensor], Tensor]
"""Maps logits `[sequences, vocabulary]` to the next tokens, `[sequences]`."""
AT_ONCE = 64
"""Most sequences decoded together."""
THINNED = 0.75
"""The cache is made smaller once no more than this share of its sequences is unfinished."""


@dataclass(frozen=True)
class StepAttention:
    """The attention context of one more token for each sequence of a cache."""

    cache: KeyValueCache

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Cache the tokens' keys and values, and attend to the prefix and within each sequence."""
        keys, values, longest = self.cache.keys[module], self.cache.values[module], self._longest
        rows, lengths = self._places
        keys[rows, :, lengths] = key[0].transpose(0, 1)
        values[rows, :, lengths] = value[0].transpose(0, 1)
        _, heads, count, width = query.shape
        groups = keys.shape[1]
        asked = query[0].transpose(0, 1).reshape(count, groups, heads // groups, width)
        keys, values = keys[:, :, :longest], values[:, :, :longest]
        if self.cache.prefix.length:
            scaled = asked * (scale or width**-0.5)
            return self._attend_with_prefix(module, scaled, keys, values).reshape(count, heads, width)
        # queries that share a key are passed as if they followed each other
        attended = scaled_dot_product_attention(asked, keys, values, attn_mask=self._mask, scale=scale)
        return attended.reshape(count, heads, width)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """The sequences' indices and lengths, on their device: where the new tokens go."""
        device = next(iter(self.cache.keys.values())).device
        return torch.arange(len(self.cache.lengths), device=device), self.cache.lengths.to(device)

    @cached_property
    def _longest(self) -> int:
        """The length of the longest sequence with its new token: the same in every layer."""
        return int(self.cache.lengths.max()) + 1

    @cached_property
    def _mask(self) -> Tensor:
        """Added to scores: minus infinity behind a sequence's end, `[sequences, 1, 1, longest]`."""
        _, lengths = self._places
        behind = torch.arange(self._longest, device=lengths.device) > lengths[:, None]
        some = next(iter(self.cache.keys.values()))
        return some.new_zeros(behind.shape).masked_fill(behind, float("-inf"))[:, None, None]

    def _attend_with_prefix(self, module: nn.Module, asked: Tensor, own: Tensor, values: Tensor) -> Tensor:
        """Attend to the prefix with all sequences' queries in one product, and to each sequence."""
        scores = asked @ own.transpose(2, 3) + self._mask
        count, groups, each, width = asked.shape
        keys, kept = self.cache.prefix.keys[module][0], self.cache.prefix.values[module][0]
        together = asked.transpose(0, 1).reshape(groups, count * each, width)
        before = (together @ keys.transpose(1, 2)).reshape(groups, count, each, -1).transpose(0, 1)
        shares = torch.cat([before, scores], dim=-1).softmax(dim=-1)
        first, second = shares.split([before.shape[-1], scores.shape[-1]], dim=-1)
        seen = first.transpose(0, 1).reshape(groups, count * each, -1) @ kept
        return seen.reshape(groups, count, each, width).transpose(0, 1) + second @ values


@dataclass
class Decoder:
    """Sequences that are decoded together, one token a step."""

    model: nn.Module
    shared: SharedPrefix
    cache: KeyValueCache
    logits: Tensor
    """Of each sequence's next token, `[sequences, vocabulary]`."""

    @classmethod
    def start(cls, model: nn.Module, shared: SharedPrefix, prefix: KeyValues, prompts: Sequence[Encoded]) -> Decoder:
        """Run a few prompts, which all begin with the prefix, with room for one more token each."""
        tokens = sum(len(prompt.tokens) for prompt in prompts)
        prefill = Prefill(model, shared, prefix, (), Budget(tokens, tokens, tokens))
        done, _ = prefill.run(merge((), prompts), 1)
        order = [done.indices.index(index) for index in range(len(prompts))]
        logits = done.logits[torch.tensor(order, device=done.logits.device)]
        done.cache.keep(order)
        return cls(model, shared, done.cache, logits)

    def add(self, tokens: Sequence[int]) -> None:
        """Add one token to each sequence."""
        row = [Encoded((token,), (0,), ()) for token in tokens]
        positions = (self.cache.lengths + self.cache.prefix.length).tolist()
        packed = replace(self.shared.packed, context=StepAttention(self.cache), positions=positions)
        self.logits = packed.logits(self.model, row)
        self.cache.lengths += 1


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded."""

    room: int
    """Most new tokens of each."""
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    choose: Choose


def answer_all(
    model: nn.Module,
    shared: SharedPrefix,
    items: Sequence[Encoded],
    prompts: Sequence[Encoded],
    decoding: Decoding,
    budget: Budget,
    prefix: KeyValues | None = None,
) -> tuple[list[float], list[list[int]]]:
    """Score items and continue prompts of a causal model; each token that both begin with is run once.

    What all begin with is searched for, unless its keys and values are given as `prefix`.

    Returns:
        The items' losses, summed over their output positions; and each prompt's new tokens, without the end token.
    """
    sequences = merge(items, prompts)
    with prepacked(model, len(prompts)):
        prefix = prefix or shared.run_prefix(model, common_prefix([one.encoded(items) for one in sequences]))
        prefill = Prefill(model, shared, prefix, items, budget)
        losses, answers = [0.0] * len(items), [list[int]() for _ in prompts]
        for batch in decoding_batches(sequences, decoding.room - prefix.length, budget.kept, AT_ONCE):
            done, scored = prefill.run(batch, decoding.room)
            for index, loss in scored.items():
                losses[index] = loss
            rows = decode(Decoder(model, shared, done.cache, done.logits), decoding) if done.indices else []
            for index, row in zip(done.indices, rows, strict=True):
                answers[index] = row
    return losses, answers


def decode(decoder: Decoder, decoding: Decoding) -> list[list[int]]:
    """Return each sequence's new tokens up to its end token, or the most that it may have."""
    rows = list(range(len(decoder.logits)))
    answers, unfinished = [list[int]() for _ in rows], set(rows)
    for left in reversed(range(decoding.room)):
        tokens: list[int] = decoding.choose(decoder.logits).tolist()
        for row, token in zip(rows, tokens, strict=True):
            if row in unfinished:
                unfinished.discard(row) if token in decoding.ends else answers[row].append(token)
        if not unfinished or not left:
            break
        if len(unfinished) <= THINNED * len(rows):
            kept = [index for index, row in enumerate(rows) if row in unfinished]
            rows, tokens = [rows[index] for index in kept], [tokens[index] for index in kept]
            decoder.cache.keep(kept)
        decoder.add(tokens)
    return answers


def can_decode(model: nn.Module, shared: SharedPrefix, samples: Sequence[Encoded]) -> bool:
    """Return whether an added token has the logits that the model computes for the whole row."""
    tokens = some_tokens(samples, 9)
    prompts = [Encoded(tokens[:length], (), ()) for length in (3, 8, 6)]
    rows = [Encoded((*prompt.tokens, tokens[8]), (len(prompt.tokens),), ()) for prompt in prompts]

    def added() -> Tensor:
        decoder = Decoder.start(model, shared, shared.run_prefix(model, tokens[:2]), prompts)
        decoder.add([tokens[8]] * len(prompts))
        return decoder.logits

    return prove_equal(model, added, partial(shared.packed.logits, model, rows))


def greedy(logits: Tensor) -> Tensor:
    """Choose the most probable token of each sequence."""
    return logits.argmax(dim=-1)


def sampling(temperature: float, seed: int) -> Choose:
    """Draw tokens by their probability, the logits divided by `temperature`; the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        shares = (logits.float().cpu() / temperature).softmax(dim=-1)
        return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)

    return draw
