"""Writing answers token by token: prompts side by side without padding, what they share computed once.

Each layer's keys and values of what was read and written so far are kept in one table. A sequence that
has ended leaves the table, so that the longest answer does not make the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.core.records import Encoded
from kamerton.engine.layout import prove_equal
from kamerton.engine.once import readings_of, waves
from kamerton.engine.prefill import Budget, Memory, Reader
from kamerton.engine.prefix_sharing import Shared, Trunk, common_beginning
from kamerton.kernels.prepacked import packed

Choose = Callable[[Tensor], Tensor]
"""Logits `[sequences, vocabulary]` to the tokens to go on with, `[sequences]`."""
AT_ONCE = 64
"""Most sequences written side by side."""
THINNED = 0.75
"""The table is made smaller once no more than this share of its sequences is still being written."""


@dataclass(frozen=True)
class Step:
    """The context of one more token for each sequence of a memory."""

    memory: Memory

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Add the tokens' keys and values, and let each attend to the trunk and to its own sequence."""
        keys, values, longest = self.memory.keys[module], self.memory.values[module], self._longest
        keys[self._rows, :, self.memory.lengths] = key[0].transpose(0, 1)
        values[self._rows, :, self.memory.lengths] = value[0].transpose(0, 1)
        _, heads, count, width = query.shape
        groups = keys.shape[1]
        asked = query[0].transpose(0, 1).reshape(count, groups, heads // groups, width)
        keys, values = keys[:, :, :longest], values[:, :, :longest]
        if self.memory.trunk.tokens:
            return self._with_trunk(module, asked * (scale or width**-0.5), keys, values).reshape(count, heads, width)
        # the queries that share a key are put as if they followed each other
        attended = scaled_dot_product_attention(asked, keys, values, attn_mask=self._unseen, scale=scale)
        return attended.reshape(count, heads, width)

    @cached_property
    def _rows(self) -> Tensor:
        return torch.arange(len(self.memory.lengths), device=self.memory.lengths.device)

    @cached_property
    def _longest(self) -> int:
        """The tokens of the longest sequence, with the one that is added: the same in every layer."""
        return int(self.memory.lengths.max()) + 1

    @cached_property
    def _unseen(self) -> Tensor:
        """What is added to scores: minus infinity behind a sequence's end, `[sequences, 1, 1, longest]`."""
        lengths = self.memory.lengths
        behind = torch.arange(self._longest, device=lengths.device) > lengths[:, None]
        some = next(iter(self.memory.keys.values()))
        return some.new_zeros(behind.shape).masked_fill(behind, float("-inf"))[:, None, None]

    def _with_trunk(self, module: nn.Module, asked: Tensor, own: Tensor, values: Tensor) -> Tensor:
        """Attend to the trunk, which is there once, with all sequences' queries in one product."""
        scores = asked @ own.transpose(2, 3) + self._unseen
        count, groups, each, width = asked.shape
        keys, kept = self.memory.trunk.keys[module][0], self.memory.trunk.values[module][0]
        together = asked.transpose(0, 1).reshape(groups, count * each, width)
        before = (together @ keys.transpose(1, 2)).reshape(groups, count, each, -1).transpose(0, 1)
        shares = torch.cat([before, scores], dim=-1).softmax(dim=-1)
        first, second = shares.split([before.shape[-1], scores.shape[-1]], dim=-1)
        seen = first.transpose(0, 1).reshape(groups, count * each, -1) @ kept
        return seen.reshape(groups, count, each, width).transpose(0, 1) + second @ values


@dataclass
class Writer:
    """Sequences being written, each step a token longer."""

    model: nn.Module
    shared: Shared
    memory: Memory
    logits: Tensor
    """What each sequence may go on with, `[sequences, vocabulary]`."""

    @classmethod
    def begin(cls, model: nn.Module, shared: Shared, trunk: Trunk, prompts: Sequence[Encoded], room: int) -> Writer:
        """Read a few prompts, which all begin with the trunk; `room` is for as many new tokens each."""
        tokens = sum(len(prompt.tokens) for prompt in prompts)
        reader = Reader(model, shared, trunk, (), Budget(tokens, tokens, tokens))
        read, _ = reader.read(readings_of((), prompts), room)
        order = torch.tensor([read.indices.index(index) for index in range(len(prompts))], device=read.logits.device)
        read.memory.keep(order)
        return cls(model, shared, read.memory, read.logits[order])

    def add(self, tokens: Tensor) -> None:
        """Go on with one token for each sequence, `[sequences]`."""
        row = [Encoded((token,), (0,), ()) for token in tokens.tolist()]
        positions = (self.memory.lengths + len(self.memory.trunk.tokens)).tolist()
        self.logits = self.shared.flat.logits(self.model, row, Step(self.memory), positions)
        self.memory.lengths += 1

    def keep(self, chosen: Tensor) -> None:
        """Go on with the chosen sequences only."""
        self.memory.keep(chosen)
        self.logits = self.logits[chosen]


@dataclass(frozen=True)
class Decoding:
    """How answers are written."""

    room: int
    """Most new tokens of each."""
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    choose: Choose


def answer_all(
    model: nn.Module,
    shared: Shared,
    items: Sequence[Encoded],
    prompts: Sequence[Encoded],
    decoding: Decoding,
    budget: Budget,
    trunk: Trunk | None = None,
) -> tuple[list[float], list[list[int]]]:
    """Measure items and continue prompts; each token that both begin with is read once.

    Args:
        model: a causal one.
        shared: the layout that was proven for it.
        items: what is measured: true answers behind their prompts.
        prompts: what to go on from.
        decoding: how.
        budget: of memory.
        trunk: what all items and prompts begin with, if it is computed already; it is looked for if not.

    Returns:
        The losses of the items, summed over their reads; and the new tokens of each prompt, without the end token.
    """
    readings = readings_of(items, prompts)
    with packed(model, len(prompts)):
        trunk = trunk or shared.run_trunk(model, common_beginning([one.encoded(items) for one in readings]))
        reader = Reader(model, shared, trunk, items, budget)
        losses, written = [0.0] * len(items), [list[int]() for _ in prompts]
        for wave in waves(readings, decoding.room - len(trunk.tokens), budget.kept, AT_ONCE):
            read, measured = reader.read(wave, decoding.room)
            for index, loss in measured.items():
                losses[index] = loss
            rows = write(Writer(model, shared, read.memory, read.logits), decoding) if read.indices else []
            for index, row in zip(read.indices, rows, strict=True):
                written[index] = row
    return losses, written


def write(writer: Writer, decoding: Decoding) -> list[list[int]]:
    """Write until each sequence has come to an end token, or has all the new tokens that it may have.

    Returns:
        The new tokens of each sequence, without the end token.
    """
    written: list[list[int]] = [[] for _ in range(len(writer.logits))]
    rows = list(range(len(written)))
    open_rows = set(rows)
    for left in reversed(range(decoding.room)):
        tokens = decoding.choose(writer.logits)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row in open_rows:
                open_rows.discard(row) if token in decoding.ends else written[row].append(token)
        if not open_rows or not left:
            break
        if len(open_rows) <= THINNED * len(rows):
            kept = [index for index, row in enumerate(rows) if row in open_rows]
            chosen = torch.tensor(kept, device=tokens.device)
            rows, tokens = [rows[index] for index in kept], tokens[chosen]
            writer.keep(chosen)
        writer.add(tokens)
    return written


def can_write(model: nn.Module, shared: Shared) -> bool:
    """Say whether a token that is added has the logits that the model gives when it reads the whole row."""
    prompts = [Encoded(tuple(range(1, length)), (), ()) for length in (4, 9, 7)]
    rows = [Encoded((*prompt.tokens, 2), (len(prompt.tokens),), ()) for prompt in prompts]

    def added() -> Tensor:
        trunk = shared.run_trunk(model, (1, 2))
        writer = Writer.begin(model, shared, trunk, prompts, 1)
        writer.add(torch.full((len(prompts),), 2))
        return writer.logits

    return prove_equal(model, added, lambda: shared.flat.logits(model, rows))


def greedily(logits: Tensor) -> Tensor:
    """Choose the most probable token of each sequence."""
    return logits.argmax(dim=-1)


def sampling(temperature: float, seed: int) -> Choose:
    """Draw tokens by their probability, the logits divided by `temperature`; the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        shares = (logits.float().cpu() / temperature).softmax(dim=-1)
        return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)

    return draw
