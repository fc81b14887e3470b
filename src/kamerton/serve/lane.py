"""Answers that are written together over one base model; each has its own adapter, sampling and end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from kamerton.core.contracts import Tokenizer
from kamerton.engine.continuous import ContinuousBatch, Joining, KeptPrompts
from kamerton.engine.encoder_decoder import EncoderDecoderBatch
from kamerton.engine.engine import TorchEngine
from kamerton.forms.templates import CLOSING_TAG, OPENED
from kamerton.serve.refusal import RefusalError

if TYPE_CHECKING:
    from kamerton.engine.mixed_adapters import MixedAdapters

MOST_TOGETHER = 16
"""Answers that are written at once over one base; with more, each takes longer and none comes sooner."""
LEAST_LOGPROB = -9999.0
"""What JSON has in place of minus infinity, as in OpenAI's API."""
UNFINISHED = "\ufffd"
"""What a tokenizer decodes the first bytes of a letter to."""


@dataclass(frozen=True)
class Sampled:
    """How an answer is drawn."""

    room: int
    """Most tokens."""
    temperature: float
    """0 takes the most probable token."""
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int = -1
    """How many of the most probable tokens to tell besides the chosen one; -1 tells nothing."""


@dataclass(frozen=True)
class TokenScore:
    """A chosen token, its log-probability, and those of the most probable ones."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Piece:
    """More of an answer."""

    text: str
    scores: tuple[TokenScore, ...]
    tokens: int
    """How many the answer has so far."""
    end: Literal["", "stop", "length"] = ""
    """Why the answer ends here; empty if it goes on."""


@dataclass(eq=False)
class Generation:
    """An answer that is being written."""

    lane: Lane
    adapter: str
    """Over the lane's base; empty for the base itself, and for a model of its own weights."""
    prompt: tuple[int, ...]
    sampled: Sampled
    parse: Callable[[str], str]
    """What is told of a text."""
    send: Callable[[Piece], None]
    fail: Callable[[RefusalError], None]
    streamed: bool
    cancelled: bool = False
    asked: float = field(default_factory=time.monotonic)
    tokens: list[int] = field(default_factory=list)
    _told: str = ""
    _scores: list[TokenScore] = field(default_factory=list)
    _generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        if self.sampled.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self.sampled.seed % 2**64)

    def draw(self, logits: Tensor, best: int) -> int:
        """Choose the next token by its logits, `[vocabulary]`, of which `best` has the largest."""
        token = best if not self.sampled.temperature else self._drawn(logits)
        if self.sampled.logprobs >= 0:
            self._scores.append(_score(token, logits, self.sampled.logprobs, self.lane.tokenizer))
        return token

    def _drawn(self, logits: Tensor) -> int:
        shares = (logits.float().cpu() / self.sampled.temperature).softmax(dim=-1)
        if self.sampled.top_p < 1:
            ordered, indices = shares.sort(descending=True)
            before = ordered.cumsum(0) - ordered
            shares = torch.zeros_like(shares).scatter(0, indices, ordered * (before < self.sampled.top_p))
        return int(torch.multinomial(shares, 1, generator=self._generator))

    def take(self, token: int, ends: Sequence[int]) -> bool:
        """Add a token, send what is new of the text, and return whether the answer goes on."""
        end: Literal["", "stop", "length"] = "stop" if token in ends else ""
        if end:
            self._scores = self._scores[:-1] if self._scores else []
        else:
            self.tokens.append(token)
            end = "length" if len(self.tokens) == self.sampled.room else ""
        if not (end or self.streamed or self.sampled.stop):
            return True
        text = self.lane.tokenizer.decode(self.tokens, skip_special_tokens=True)
        at = min((found for word in self.sampled.stop if (found := text.find(word)) >= 0), default=-1)
        if at >= 0:
            text, end = text[:at], "stop"
        if end or self.streamed:
            self._tell(self.parse(text if end else self._sure(text)), end)
        return not end

    def _sure(self, text: str) -> str:
        """Return as much of a text as no later token can change."""
        if OPENED.strip() in text and CLOSING_TAG not in text:  # reasoning, which may be left out once it is over
            return ""
        held = max((_overlap(text, word) for word in self.sampled.stop), default=0)
        return text[: len(text) - held].rstrip(UNFINISHED)

    def _tell(self, text: str, end: Literal["", "stop", "length"]) -> None:
        new = text[len(self._told) :] if end or text.startswith(self._told) else ""
        if new or end or self._scores:
            self._told += new
            self.send(Piece(new, tuple(self._scores), len(self.tokens), end))
            self._scores = []


def _overlap(text: str, word: str) -> int:
    r"""Return how many letters at the end of a text may be the beginning of a word.

    >>> _overlap("one\\n", "\\n\\n")
    1
    """
    return next((size for size in range(min(len(word), len(text)), 0, -1) if text.endswith(word[:size])), 0)


def _score(token: int, logits: Tensor, count: int, tokenizer: Tokenizer) -> TokenScore:
    logs = logits.float().log_softmax(dim=-1)
    values, indices = logs.topk(min(count, len(logs)))
    texts = (str(tokenizer.decode([index])) for index in indices.tolist())
    top = tuple((text, _finite(value)) for text, value in zip(texts, values.tolist(), strict=True))
    return TokenScore(str(tokenizer.decode([token])), _finite(float(logs[token])), top)


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else LEAST_LOGPROB


class Lane:
    """A base model whose answers are written together.

    Args:
        engine: of the model.
        batch: its continuous batch.
        mixed: its adapters, if several can be in one batch; else the engine's own is active.
    """

    def __init__(
        self,
        engine: TorchEngine,
        batch: ContinuousBatch | EncoderDecoderBatch,
        mixed: MixedAdapters | None = None,
    ) -> None:
        self.engine, self.batch, self.mixed, self.tokenizer = engine, batch, mixed, engine.tokenizer
        self.rows: list[Generation] = []
        self._kept: dict[str, KeptPrompts] = {}
        end = engine.tokenizer.eos_token_id
        self._ends = () if end is None else (int(end),)

    def has_room(self, generations: Sequence[Generation]) -> bool:
        """Return whether some answers can join together."""
        fits = self.batch.fits([Joining(one.prompt, one.sampled.room) for one in generations])
        return len(self.rows) + len(generations) <= MOST_TOGETHER and fits

    def join(self, generations: Sequence[Generation]) -> None:
        """Run the prompts of new answers."""
        for adapter, group in groupby(sorted(generations, key=_adapter), key=_adapter):
            some = list(group)
            joining = [Joining(one.prompt, one.sampled.room) for one in some]
            with self._using([adapter]):
                self.batch.join(joining, self._kept.setdefault(adapter, KeptPrompts()))
            self.rows += some

    def step(self) -> Iterator[Generation]:
        """Choose the next token of each answer, and run it; yield the answers that have ended."""
        if not self.rows:
            return
        best: list[int] = self.batch.logits.argmax(dim=-1).tolist()
        going, tokens = list[int](), list[int]()
        for at, row in enumerate(self.rows):
            token = row.draw(self.batch.logits[at], best[at])
            if not row.cancelled and row.take(token, self._ends):
                going.append(at)
                tokens.append(token)
            else:
                yield row
        self.batch.keep(going)
        self.rows = [self.rows[at] for at in going]
        if tokens:
            with self._using([_adapter(row) for row in self.rows]):
                self.batch.add(tokens)

    def drop(self) -> list[Generation]:
        """Empty the lane after a failure; return what was being written."""
        rows, self.rows = self.rows, []
        self.batch.keep([])
        self._kept.clear()
        return rows

    def _using(self, adapters: Sequence[str]) -> AbstractContextManager[Any]:
        """Activate the adapter of each token of the next pass; one is that of all tokens."""
        if self.mixed:
            self.engine.model.eval()
            return self.mixed.using(adapters)
        self.engine.activate()
        return nullcontext()


def _adapter(generation: Generation) -> str:
    return generation.adapter
