"""What the forms share that read a whole text at one token: an encoder's first, a decoder's last."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer, TooLong
from kamerton.core.records import Encoded, Example, ExampleSeq
from kamerton.forms.texts import Piece, in_one_row, read_texts, texts_of
from kamerton.forms.usual import Usual


@dataclass(frozen=True, kw_only=True)
class SequenceHead(Usual):
    """A head on one token of a text, or of each window of it; the logits of windows are averaged."""

    in_windows: bool = False
    """Whether what is too long is read in windows."""
    too_long: ClassVar[tuple[TooLong, ...]] = ("cut", "drop", "window", "refuse")
    model_class: ClassVar = "AutoModelForSequenceClassification"
    untuned_class: ClassVar = "AutoModel"

    def with_too_long(self, too_long: TooLong) -> Self:
        """Return the form that reads long texts in windows, or cuts them."""
        return replace(self, in_windows=too_long == "window")

    @abstractmethod
    def target(self, example: Example) -> int:
        """Return an example's target, below 0 if it is not known."""

    def number(self, example: Example) -> float:
        """Return the number to be read, if it is one."""
        return 0.0

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the texts, cut from the right or in windows, each with one output position."""
        pieces = read_texts([texts_of(e) for e in examples], tokenizer, max_tokens, in_windows=self.in_windows)
        return [
            in_one_row(parts, self.read_at, (self.target(example),), self.number(example))
            for example, parts in zip(examples, pieces, strict=True)
        ]

    def read_at(self, piece: Piece) -> int:
        """Return the output position of a text, or of a window of it."""
        return 0

    def supervised(self, item: Encoded) -> int:
        """Count the answer, if it is known."""
        return int(item.targets[0] >= 0)

    def embed(self, engine: Engine, examples: ExampleSeq) -> np.ndarray:
        """Embed texts, cut where they are too long: `[examples, hidden]`, unit length."""
        return embed_texts(engine, [texts_of(example) for example in examples])

    def read(self, engine: Engine, items: Sequence[Encoded]) -> np.ndarray:
        """Compute each item's logits, averaged over its windows: `[items, classes]`; `[0, 0]` for no items."""
        if not items:
            return np.zeros((0, 0))
        logits = np.concatenate(engine.read([sequence for item in items for sequence in item.sequences]))
        starts = np.cumsum([0, *(len(item.sequences) for item in items)])[:-1]
        counts = np.array([[len(item.sequences)] for item in items])
        means: np.ndarray = np.add.reduceat(logits, starts) / counts
        return means


def embed_texts(engine: Engine, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Embed texts and pairs, cut where they are too long: `[texts, hidden]`, unit length."""
    pieces = read_texts(texts, engine.tokenizer, engine.max_tokens, in_windows=False)
    return engine.embed([Encoded(piece.tokens, (), (), segments=piece.segments) for [piece] in pieces])


def window_means(logits: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Average the logits of each item's windows: `[sequences, classes]` to `[items, classes]`."""
    counts = torch.tensor([len(item.sequences) for item in items], device=logits.device)
    owners = torch.repeat_interleave(torch.arange(len(items), device=logits.device), counts)
    sums = logits.new_zeros(len(items), logits.shape[1]).index_add(0, owners, logits)
    return sums / counts[:, None]
