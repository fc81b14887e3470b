"""Writing answers token by token: prompts side by side without padding, what they share computed once.

Each layer's keys and values of what was read and written so far are kept in one table. A sequence that
has ended leaves the table, so that the longest answer does not make the others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kamerton.models.layout import prove_equal
from kamerton.models.packed import packed
from kamerton.models.passes import token_batches
from kamerton.models.shared import Shared, Stem, Stems, Trunk, common_beginning, stems_of
from kamerton.records import Encoded

Choose = Callable[[Tensor], Tensor]
"""Logits `[sequences, vocabulary]` to the tokens to go on with, `[sequences]`."""
AT_ONCE = 64
"""Most sequences written side by side."""
COPIED = 128
"""Longest trunk that is copied before each sequence: attention to one table is faster than to two."""
THINNED = 0.75
"""The table is made smaller once no more than this share of its sequences is still being written."""


@dataclass
class Memory:
    """Keys and values of sequences behind a trunk, by attention layer: `[sequences, key heads, room, width]` each."""

    trunk: Trunk
    lengths: Tensor
    """How many tokens of each sequence are in the table, `[sequences]`; a short trunk is copied into it."""
    room: int
    keys: dict[nn.Module, Tensor] = field(default_factory=dict)
    values: dict[nn.Module, Tensor] = field(default_factory=dict)

    def keep(self, chosen: Tensor) -> None:
        """Keep only the chosen sequences, by index."""
        self.lengths = self.lengths[chosen]
        for table in (self.keys, self.values):
            for module, states in table.items():
                table[module] = states[chosen]


@dataclass(frozen=True)
class Prefill:
    """The context of prompts: they attend as stems do, and are remembered."""

    stems: Stems
    memory: Memory

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each prompt and to the trunk; note keys and values."""
        rows, places = self._places
        for table, states in ((self.memory.keys, key), (self.memory.values, value)):
            kept = states.new_zeros(len(self.stems.stems), states.shape[1], self.memory.room, states.shape[3])
            kept[rows, :, places] = states[0].transpose(0, 1)
            table[module] = kept
        if self._copied:
            self.memory.keys[module][:, :, : self._copied] = self.stems.trunk.keys[module]
            self.memory.values[module][:, :, : self._copied] = self.stems.trunk.values[module]
        return self.stems.attend(module, query, key, value, scale)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Say which row and which column of the table each token belongs to: the same in every layer."""
        lengths = torch.tensor([len(stem.tokens) for stem in self.stems.stems])
        rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        starts = lengths.cumsum(0) - lengths
        device = self.memory.lengths.device
        return rows.to(device), (torch.arange(len(rows)) - starts[rows] + self._copied).to(device)

    @property
    def _copied(self) -> int:
        """How many tokens of the trunk stand in the table before each prompt's own."""
        return len(self.stems.trunk.tokens) - len(self.memory.trunk.tokens)


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
        """Read the prompts, which all begin with the trunk; `room` is for as many new tokens each."""
        stems = tuple(_alone(prompt, len(trunk.tokens)) for prompt in prompts)
        lengths = [len(stem.tokens) for stem in stems]
        ahead, copied = (trunk, 0) if len(trunk.tokens) > COPIED else (Trunk(()), len(trunk.tokens))
        memory = Memory(ahead, torch.tensor(lengths) + copied, max(lengths) + copied + room)
        row = [Encoded(stem.tokens, stem.reads, ()) for stem in stems]
        positions = [position for stem in stems for position in stem.positions]
        context = Prefill(Stems(trunk, stems), memory)
        return cls(model, shared, memory, shared.flat.logits(model, row, context, positions))

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


def write_all(
    model: nn.Module,
    shared: Shared,
    prompts: Sequence[Encoded],
    room: int,
    ends: Sequence[int],
    choose: Choose,
    tokens: int,
    trunk: Trunk | None = None,
) -> list[list[int]]:
    """Continue prompts, as many at once as a budget of kept tokens allows.

    Args:
        model: a causal one.
        shared: the layout that was proven for it.
        prompts: what to go on from.
        room: most new tokens of each.
        ends: tokens that end an answer.
        choose: how a token is chosen.
        tokens: most tokens of prompts and answers that are kept at once, beside what all begin with.
        trunk: what all prompts begin with, if it is computed already; it is looked for if not.

    Returns:
        The new tokens of each prompt, without the end token.
    """
    with packed(model, len(prompts)):
        trunk = trunk or shared.run_trunk(model, common_beginning([_ended(prompt) for prompt in prompts]))
        return _write_all(model, shared, trunk, prompts, room, ends, choose, tokens)


def _write_all(
    model: nn.Module,
    shared: Shared,
    trunk: Trunk,
    prompts: Sequence[Encoded],
    room: int,
    ends: Sequence[int],
    choose: Choose,
    tokens: int,
) -> list[list[int]]:
    needs = [len(prompt.tokens) - len(trunk.tokens) + room for prompt in prompts]
    written: list[list[int]] = [[] for _ in prompts]
    for batch in token_batches(needs, tokens, AT_ONCE):
        writer = Writer.begin(model, shared, trunk, [prompts[i] for i in batch], room)
        for i, row in zip(batch, write(writer, room, ends, choose), strict=True):
            written[i] = row
    return written


def write(writer: Writer, room: int, ends: Sequence[int], choose: Choose) -> list[list[int]]:
    """Write until each sequence has come to an end token, or has `room` new tokens.

    Returns:
        The new tokens of each sequence, without the end token.
    """
    written: list[list[int]] = [[] for _ in range(len(writer.logits))]
    rows = list(range(len(written)))
    open_rows = set(rows)
    for _ in range(room):
        tokens = choose(writer.logits)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row in open_rows:
                open_rows.discard(row) if token in ends else written[row].append(token)
        if not open_rows:
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


def _alone(prompt: Encoded, trunk: int) -> Stem:
    [stem] = stems_of([_ended(prompt)], trunk)
    return stem


def _ended(prompt: Encoded) -> Encoded:
    """Read a prompt at its last token, and only there."""
    return replace(prompt, reads=(len(prompt.tokens) - 1,), targets=())
