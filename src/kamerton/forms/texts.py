"""Tokenization of texts and pairs for encoders: whole, cut, or in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kamerton.core.contracts import Tokenizer
from kamerton.core.records import Encoded, Example

OVERLAP = 4
"""One part in so many of a window is shared with the window before it."""
SECOND = "second"
"""The role of the second text of a pair."""


@dataclass(frozen=True)
class Piece:
    """The tokens of a text, or of one window of it."""

    tokens: tuple[int, ...]
    segments: tuple[int, ...]
    """Types of the tokens, where the two texts of a pair have different ones; else empty."""
    cut: int = 0
    """Tokens of the text that no piece has."""


def texts_of(example: Example) -> tuple[str, ...]:
    """Return an example's two texts if it has two, else its one text."""
    second = str(example.fields.get(SECOND) or "")
    return (example.text.removesuffix(f"\n\n{second}"), second) if second.strip() else (example.text,)


def joined(text: str, second: str) -> str:
    """Return a text and its second text as one plain text."""
    return f"{text}\n\n{second}" if second.strip() else text


def read_texts(
    texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer, max_tokens: int, *, in_windows: bool
) -> list[list[Piece]]:
    """Tokenize texts and pairs with the special tokens, each in one piece of at most `max_tokens`, or in several.

    Args:
        texts: each one text or two.
        tokenizer: a fast one.
        max_tokens: of a piece.
        in_windows: whether what is longer is read in windows instead of being cut at its end.
    """
    pieces: list[list[Piece]] = [[] for _ in texts]
    for size in (1, 2):
        chosen = [i for i, parts in enumerate(texts) if len(parts) == size]
        whole = _tokenize([texts[i] for i in chosen], tokenizer)
        for i, ids, types in zip(chosen, whole["input_ids"], _types(whole), strict=True):
            fits = len(ids) <= max_tokens
            pieces[i] = (
                [_piece(ids, types)] if fits else _shorten(texts[i], len(ids), tokenizer, max_tokens, in_windows)
            )
    return pieces


def in_one_row(
    pieces: Sequence[Piece], read_at: Callable[[Piece], int], targets: tuple[int, ...], number: float
) -> Encoded:
    """Encode the pieces of a text as one row, each with one output position."""
    first, *others = (
        Encoded(piece.tokens, (read_at(piece),), targets, piece.cut, number=number, segments=piece.segments)
        for piece in pieces
    )
    return replace(first, extra=tuple(others))


def _tokenize(texts: Sequence[tuple[str, ...]], tokenizer: Tokenizer) -> Any:
    if not texts:
        return {"input_ids": []}
    return tokenizer(*map(list, zip(*texts, strict=True)), add_special_tokens=True, truncation=False, verbose=False)


def _types(batch: Any) -> list[list[int]]:
    types: list[list[int]] = batch.get("token_type_ids") or [[] for _ in batch["input_ids"]]
    return types


def _piece(ids: Sequence[int], types: Sequence[int], cut: int = 0) -> Piece:
    return Piece(tuple(ids), tuple(types) if any(types) else (), cut)


def _shorten(
    parts: tuple[str, ...], length: int, tokenizer: Tokenizer, max_tokens: int, in_windows: bool
) -> list[Piece]:
    """Cut the longer text at its end, or split it into windows."""
    ids = [tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"] for part in parts]
    lengths = [len(one) for one in ids]
    longer = lengths.index(max(lengths))
    room = max_tokens - (length - lengths[longer])
    if not in_windows or room < 1:
        strategy = "longest_first"
        short = tokenizer(*parts, truncation=strategy, max_length=max_tokens)
        return [_piece(short["input_ids"], short.get("token_type_ids") or [], length - len(short["input_ids"]))]
    windows = tokenizer(
        *parts,
        truncation="only_second" if longer else "only_first",
        max_length=max_tokens,
        stride=room // OVERLAP,
        return_overflowing_tokens=True,
    )
    return [_piece(ids, types) for ids, types in zip(windows["input_ids"], _types(windows), strict=True)]
