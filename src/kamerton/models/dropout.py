"""Dropout that costs little on a CPU: torch's own draws each element by itself there, which takes as long as the model.

Each element is dropped by 16 random bits of its own. The bits are those of SFC64 (Doty-Humphrey, PractRand),
begun anew for each call from a seed that torch's generator draws: so torch's random state, which checkpoints
hold, is all the state there is, and gradient checkpointing draws the same bits again. The probability is
rounded to 1/65536 and what stays is scaled by the rounded one, so that the mean is kept exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STEPS = 1 << 16
"""Probabilities that 16 bits can tell apart."""
AT_ONCE = 1 << 20
"""Most entries of attention matrices in work at a time: 4 MB, which a processor's cache holds."""


@dataclass(frozen=True)
class Chance:
    """A probability in steps of 1/65536, and the factor that keeps the mean."""

    steps: int

    @classmethod
    def of(cls, probability: float) -> Chance:
        """Round a probability below 1."""
        return cls(min(STEPS - 1, round(probability * STEPS)))

    @property
    def factor(self) -> float:
        """What the elements that stay are multiplied by."""
        return STEPS / (STEPS - self.steps)

    def kept(self, bits: Tensor) -> Tensor:
        """Say of each 16 bits, read as a signed number, whether their element stays."""
        return bits >= self.steps - STEPS // 2


class Bits:
    """Random bits in a row that is a function of a seed."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.SFC64(seed)

    @classmethod
    def drawn(cls) -> Bits:
        """Begin where torch's generator says."""
        return cls(draw_seed())

    def of(self, shape: Sequence[int]) -> Tensor:
        """Give the next 16 bits for each element: int16 of this shape."""
        count = int(np.prod(shape))
        raw = np.random.Generator(self._source).integers(0, 1 << 64, size=-(-count // 4), dtype=np.uint64)
        return torch.from_numpy(raw.view(np.int16))[:count].view(*shape)


def draw_seed() -> int:
    """Draw a seed from torch's generator."""
    return int(torch.randint(1 << 62, ()).item())


class Dropout(nn.Dropout):
    """Dropout whose mask costs little on a CPU; elsewhere torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements while training."""
        if not self.training or self.p == 0 or self.p == 1 or input.device.type != "cpu":
            return super().forward(input)
        dropped: Tensor = _Dropped.apply(input, Chance.of(self.p))
        return dropped


def use_cheap_dropout(model: nn.Module) -> None:
    """Let the dropout layers of a model draw their masks as this module does. Nothing of it is saved."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, chance: Chance) -> Tensor:
        kept = chance.kept(Bits.drawn().of(states.shape))
        ctx.save_for_backward(kept)
        ctx.factor = chance.factor
        return (states * kept).mul_(chance.factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient], [kept] = gradients, ctx.saved_tensors
        return (gradient * kept).mul_(ctx.factor), None


# ── attention ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Piece:
    """Neighbouring sequences of one length in a flat row."""

    length: int
    count: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.length * self.count


@dataclass(frozen=True)
class Block:
    """Attention matrices of one size that are worked on together: of some sequences of a flat row, for some heads."""

    length: int
    sequences: int
    heads: slice
    tokens: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """Matrices, rows, columns."""
        return self.sequences * (self.heads.stop - self.heads.start), self.length, self.length

    def part(self, states: Tensor) -> Tensor:
        """Give the block's part of `[heads, tokens, width]`: `[matrices, length, width]`."""
        part = states[self.heads, self.tokens]
        apart = part.reshape(len(part), self.sequences, self.length, -1).transpose(0, 1)
        return apart.reshape(-1, self.length, states.shape[-1])

    def put(self, states: Tensor, part: Tensor) -> None:
        """Write the block's part of `[heads, tokens, width]`, which `part` would give."""
        apart = part.view(self.sequences, -1, self.length, part.shape[-1]).transpose(0, 1)
        states[self.heads, self.tokens] = apart.reshape(apart.shape[0], -1, part.shape[-1])


def blocks(heads: int, pieces: Iterable[Piece]) -> Iterator[Block]:
    """Cut sequences into blocks that a cache holds."""
    start = 0
    for piece in pieces:
        matrix = piece.length**2
        together = max(1, AT_ONCE // (matrix * heads))
        at_once = max(1, min(heads, AT_ONCE // matrix))
        for first in range(0, piece.count, together):
            count = min(together, piece.count - first)
            tokens = slice(start, start + count * piece.length)
            start = tokens.stop
            for head in range(0, heads, at_once):
                yield Block(piece.length, count, slice(head, min(head + at_once, heads)), tokens)


@dataclass(frozen=True)
class Attending:
    """How a flat row attends."""

    blocks: tuple[Block, ...]
    scale: float
    chance: Chance
    causal: bool

    def weights(self, query: Tensor, key: Tensor, seed: int) -> Iterator[tuple[Block, Tensor, Tensor]]:
        """Compute each block's attention weights, and which of them stay; the same ones for the same seed."""
        bits = Bits(seed)
        for block in self.blocks:
            q, k = block.part(query), block.part(key)
            scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=self.scale)
            if self.causal:
                scores.masked_fill_(_later(block.length), float("-inf"))
            yield block, scores.softmax(dim=-1), self.chance.kept(bits.of(block.shape))


def attend_dropping(
    query: Tensor, key: Tensor, value: Tensor, pieces: Iterable[Piece], scale: float, dropout: float, *, causal: bool
) -> Tensor:
    """Attend within sequences, and drop attention weights.

    torch's own kernel then keeps whole matrices for the backward pass, and draws by its slow generator. Here
    weights and masks are computed a second time in the backward pass, some at a time, and never kept.

    Args:
        query: `[heads, tokens, width]`; key and value have as many heads.
        key: `[heads, tokens, width]`.
        value: like `key`.
        pieces: the sequences.
        scale: factor on the scores.
        dropout: probability.
        causal: whether a token sees only those before it.

    Returns:
        `[tokens, heads, width]`.
    """
    how = Attending(tuple(blocks(len(query), pieces)), scale, Chance.of(dropout), causal)
    attended: Tensor = _Attended.apply(query, key, value, how)
    return attended


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, how: Attending) -> Tensor:
        ctx.how, ctx.seed = how, draw_seed()
        heads, tokens, _ = query.shape
        attended = query.new_empty(tokens, heads, value.shape[2])
        for block, weights, kept in how.weights(query, key, ctx.seed):
            part = torch.bmm(weights.mul_(kept), block.part(value))
            block.put(attended.transpose(0, 1), part.mul_(how.chance.factor))
        ctx.save_for_backward(query, key, value, attended)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, attended = ctx.saved_tensors
        how: Attending = ctx.how
        # the sum over keys of a weight times its gradient is that of the output times its own (Dao et al. 2022, B.2)
        own = (gradients[0] * attended).sum(dim=-1, keepdim=True).transpose(0, 1)
        outer = (gradients[0] * how.chance.factor).transpose(0, 1)
        to_query, to_key, to_value = (torch.empty_like(states) for states in (query, key, value))
        for block, weights, kept in how.weights(query, key, ctx.seed):
            above = block.part(outer)
            block.put(to_value, torch.bmm((weights * kept).transpose(1, 2), above))
            inner = torch.bmm(above, block.part(value).transpose(1, 2)).mul_(kept)
            inner.sub_(block.part(own)).mul_(weights).mul_(how.scale)
            block.put(to_query, torch.bmm(inner, block.part(key)))
            block.put(to_key, torch.bmm(inner.transpose(1, 2), block.part(query)))
        return to_query, to_key, to_value, None


@lru_cache(maxsize=64)
def _later(length: int) -> Tensor:
    """Say which tokens come after which: `[length, length]`."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)
