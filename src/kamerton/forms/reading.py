"""Texts and pairs for encoders: tokenized whole, cut or in windows, and read at one token by a head."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kamerton.core.contracts import Engine, Tokenizer, TooLong
from kamerton.core.messages import Wording
from kamerton.core.records import Encoded, Example, ExampleSeq, Taught
from kamerton.forms.supervision import one_row, sequences_of, sums
from kamerton.forms.usual import Windowed

OVERLAP = 4
"""One part in so many of a window is shared with the window before it."""
SECOND = "second"
"""The role of the second text of a pair."""


@dataclass(frozen=True, kw_only=True)
class SequenceHead(Windowed):
    """A head on one token of a text, or of each window of it; the logits of windows are averaged."""

    in_windows: bool = False
    too_long: ClassVar[tuple[TooLong, ...]] = ("cut", "drop", "window", "refuse")
    model_class: ClassVar = "AutoModelForSequenceClassification"
    untuned_class: ClassVar = "AutoModel"

    @abstractmethod
    def target(self, example: Example) -> int:
        """Return an example's target, below 0 if it is not known."""

    def number(self, example: Example) -> float:
        """Return the number to be read, if it is one."""
        return 0.0

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the texts, cut from the right or in windows, each with one output position."""
        pieces = read_texts([texts_of(e) for e in examples], tokenizer, max_tokens, in_windows=self.in_windows)
        items = []
        for example, parts in zip(examples, pieces, strict=True):
            known = [replace(part, targets=(self.target(example),), number=self.number(example)) for part in parts]
            items.append(one_row(replace(part, output_positions=(self.read_at(part),)) for part in known))
        return items

    def read_at(self, piece: Encoded) -> int:
        """Return the output position of a text, or of a window of it."""
        return 0

    @abstractmethod
    def answer_of(self, item: Encoded) -> Wording:
        """Return the known answer of a row in words."""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the output position and the answer."""
        if not self.supervised(item):
            return Taught((), ())
        return Taught(item.output_positions, (self.answer_of(item),))

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
        logits = np.concatenate(engine.read(sequences_of(items)))
        starts = np.cumsum([0, *(len(item.sequences) for item in items)])[:-1]
        counts = np.array([[len(item.sequences)] for item in items])
        means: np.ndarray = np.add.reduceat(logits, starts) / counts
        return means


def embed_texts(engine: Engine, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Embed texts and pairs, cut where they are too long: `[texts, hidden]`, unit length."""
    pieces = read_texts(texts, engine.tokenizer, engine.max_tokens, in_windows=False)
    return engine.embed([piece for [piece] in pieces])


def window_means(logits: Tensor, items: Sequence[Encoded]) -> Tensor:
    """Average the logits of each item's windows: `[sequences, classes]` to `[items, classes]`."""
    counts = [len(item.sequences) for item in items]
    return sums(logits, counts) / torch.tensor(counts, device=logits.device)[:, None]


def texts_of(example: Example) -> tuple[str, ...]:
    """Return an example's two texts if it has two, else its one text."""
    second = str(example.fields.get(SECOND) or "")
    return (example.text.removesuffix(f"\n\n{second}"), second) if second.strip() else (example.text,)


def joined(text: str, second: str) -> str:
    """Return a text and its second text as one plain text."""
    return f"{text}\n\n{second}" if second.strip() else text


def read_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, max_tokens: int, *, in_windows: bool
) -> list[list[Encoded]]:
    """Tokenize texts and pairs with the special tokens, each in one piece of at most `max_tokens`, or in several.

    With `in_windows`, what is longer is read in windows instead of being cut at its end.
    """
    pieces: list[list[Encoded]] = [[] for _ in texts]
    for size in (1, 2):
        chosen = [i for i, parts in enumerate(texts) if len(parts) == size]
        columns = [list(column) for column in zip(*(texts[i] for i in chosen), strict=True)]
        whole = tokenizer(*columns, add_special_tokens=True, truncation=False, verbose=False) if chosen else {}
        for i, piece in zip(chosen, pieces_of(whole), strict=True):
            fits = len(piece.tokens) <= max_tokens
            pieces[i] = [piece] if fits else _shorten(texts[i], piece, tokenizer, max_tokens, in_windows)
    return pieces


def pieces_of(batch: Mapping[str, Any]) -> list[Encoded]:
    """Return what a tokenizer made, with the types of the tokens where not all are 0."""
    ids = batch.get("input_ids", [])
    types = batch.get("token_type_ids") or [[] for _ in ids]
    return [
        Encoded(tuple(tokens), (), (), segments=tuple(kinds) if any(kinds) else ())
        for tokens, kinds in zip(ids, types, strict=True)
    ]


def _shorten(
    parts: tuple[str, ...], whole: Encoded, tokenizer: Tokenizer, max_tokens: int, in_windows: bool
) -> list[Encoded]:
    """Cut the longer text at its end, or split it into windows."""
    lengths = [len(tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]) for part in parts]
    longer = lengths.index(max(lengths))
    room = max_tokens - (len(whole.tokens) - lengths[longer])
    if not in_windows or room < 1:
        [short] = pieces_of(tokenizer(*([part] for part in parts), truncation="longest_first", max_length=max_tokens))
        return [replace(short, cut=len(whole.tokens) - len(short.tokens))]
    windows = tokenizer(
        *parts,
        truncation="only_second" if longer else "only_first",
        max_length=max_tokens,
        stride=room // OVERLAP,
        return_overflowing_tokens=True,
    )
    return pieces_of(windows)
