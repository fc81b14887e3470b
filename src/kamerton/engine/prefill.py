"""Reading sequences before answers are written: each layer's keys and values of the prompts are kept in one table.

A sequence is read once, whatever it is read for: where it is the true answer behind its prompt, its losses are
computed in the pass that fills the prompt's part of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kamerton.core.records import Encoded
from kamerton.engine.once import Reading, Start
from kamerton.engine.passes import split_passes
from kamerton.engine.prefix_sharing import Shared, Stems, Trunk, stems_of
from kamerton.forms.supervision import target_losses
from kamerton.models.structure import device_of

COPIED = 128
"""Longest trunk that is copied before each sequence: attention to one table is faster than to two."""


@dataclass(frozen=True)
class Budget:
    """How much may be in memory at once."""

    tokens: int
    """Most tokens in one forward pass."""
    outputs: int
    """Most positions in one forward pass whose logits are computed."""
    kept: int
    """Most tokens of prompts and answers whose keys and values are kept."""


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


class Copy(NamedTuple):
    """A prompt's keys and values: which sequence of the memory they are, and where they stand in the row."""

    sequence: int
    start: int
    end: int


@dataclass(frozen=True)
class Prefill:
    """The context of sequences that are read: they attend as stems do, and the prompts among them are remembered."""

    stems: Stems
    memory: Memory
    copies: tuple[Copy, ...]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend within each sequence and to the trunk; keep the prompts' keys and values."""
        trunk = self.stems.trunk
        self._keep(self.memory.keys, module, key, trunk.keys)
        self._keep(self.memory.values, module, value, trunk.values)
        return self.stems.attend(module, query, key, value, scale)

    def _keep(
        self, table: dict[nn.Module, Tensor], module: nn.Module, states: Tensor, trunk: dict[nn.Module, Tensor]
    ) -> None:
        copied = len(self.stems.trunk.tokens) - len(self.memory.trunk.tokens)
        if module not in table:
            _, heads, _, width = states.shape
            table[module] = states.new_zeros(len(self.memory.lengths), heads, self.memory.room, width)
            if copied:
                table[module][:, :, :copied] = trunk[module]
        for sequence, start, end in self.copies:
            table[module][sequence, :, copied : copied + end - start] = states[0, :, start:end]


@dataclass(frozen=True)
class Prompts:
    """Prompts that were read and may be continued."""

    indices: tuple[int, ...]
    """Which ones, in the order of the memory's sequences."""
    memory: Memory
    logits: Tensor
    """What each may go on with, `[prompts, vocabulary]`."""


@dataclass(frozen=True)
class Reader:
    """Reads sequences behind a trunk."""

    model: nn.Module
    shared: Shared
    trunk: Trunk
    items: Sequence[Encoded]
    """What is measured."""
    budget: Budget

    def read(self, readings: Sequence[Reading], new: int) -> tuple[Prompts, dict[int, float]]:
        """Read sequences, and return their prompts, and the losses of their items by index.

        Args:
            readings: whose prompts are continued side by side.
            new: most new tokens of each prompt.
        """
        starts = [start for reading in readings for start in reading.starts]
        memory = self._memory([start.length for start in starts], new)
        after, losses = dict[int, Tensor](), dict[int, float]()
        ahead = len(self.trunk.tokens)
        reads = [reading.output_positions(self.items) for reading in readings]
        lengths = [len(reading.tokens) - ahead for reading in readings]
        for batch in split_passes(lengths, [len(own) for own in reads], self.budget.tokens, self.budget.outputs):
            chosen = [readings[i] for i in batch]
            for reading, own, logits in zip(
                chosen, (reads[i] for i in batch), self._logits(chosen, memory, starts), strict=True
            ):
                place = {read: at for at, read in enumerate(own)}
                after.update({start.prompt: logits[place[start.length - 1]] for start in reading.starts})
                losses.update(self._losses(reading, place, logits))
        indices = tuple(start.prompt for start in starts)
        together = torch.stack([after[index] for index in indices]) if indices else torch.empty(0)
        return Prompts(indices, memory, together), losses

    def _memory(self, lengths: Sequence[int], new: int) -> Memory:
        """Make an empty memory; a short trunk will stand in it before each sequence."""
        ahead = len(self.trunk.tokens)
        apart = self.trunk if ahead > COPIED else Trunk(())
        own = torch.tensor(lengths, dtype=torch.long, device=device_of(self.model)) - len(apart.tokens)
        return Memory(apart, own, max(lengths, default=0) - len(apart.tokens) + new)

    def _logits(self, readings: Sequence[Reading], memory: Memory, starts: Sequence[Start]) -> tuple[Tensor, ...]:
        """Run sequences in one pass; return the logits at each one's reads."""
        ahead = len(self.trunk.tokens)
        items = [reading.encoded(self.items) for reading in readings]
        stems = tuple(stem for item in items for stem in stems_of([item], ahead))
        sequence = {start: number for number, start in enumerate(starts)}
        first = accumulate((len(stem.tokens) for stem in stems), initial=0)
        copies = tuple(
            Copy(sequence[start], at, at + start.length - ahead)
            for at, reading in zip(first, readings, strict=False)
            for start in reading.starts
        )
        row = [Encoded(stem.tokens, stem.output_positions, ()) for stem in stems]
        positions = [position for stem in stems for position in stem.positions]
        context = Prefill(Stems(self.trunk, stems), memory, copies)
        logits = self.shared.flat.logits(self.model, row, context, positions)
        return logits.split([len(item.output_positions) for item in items])

    def _losses(self, reading: Reading, place: Mapping[int, int], logits: Tensor) -> dict[int, float]:
        """Return the losses of the items that were measured on a sequence."""
        items = [self.items[index] for index in reading.items]
        if not items:
            return {}
        at = torch.tensor([place[read] for item in items for read in item.output_positions], device=logits.device)
        return dict(zip(reading.items, target_losses(logits[at].float(), items).tolist(), strict=True))


def token_bytes(model: nn.Module, shared: Shared) -> int:
    """Measure how much memory the keys and values of one token take."""
    trunk = shared.run_trunk(model, (1,))
    return sum(states.nbytes for table in (trunk.keys, trunk.values) for states in table.values())
