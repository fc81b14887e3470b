"""Read plain text: each line is a row, or each paragraph where blank lines part them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from kamerton.data.encoding import Source, flaw
from kamerton.data.read_conll import looks_like_conll, read_conll
from kamerton.data.table import Collector, Table

LONGEST_PARAGRAPH = 20
"""Lines of a paragraph on average; from here on, blank lines part something larger, and lines are the rows."""


def read_text(source: Source) -> Table:
    """Read lines or paragraphs into the column `text`; a file of tokens and tags is read as CoNLL.

    Raises:
        DataError: no rows, or mostly bad ones.
    """
    if looks_like_conll(source):
        return read_conll(source)
    rows, paragraphs = Collector(source.file), _has_paragraphs(source)
    for line, text in _paragraphs(source) if paragraphs else _lines(source):
        if text and (reason := flaw(text)):
            rows.reject(line, reason)
        elif text:
            rows.accept(line, {"text": text})
    note = f"each {'paragraph' if paragraphs else 'line'} is a row"
    return rows.table(("text",), "txt", source.encoding.name, [*source.notes, note])


def _has_paragraphs(source: Source) -> bool:
    lines = blocks = 0
    before = ""
    for _, text in _lines(source):
        lines += bool(text)
        blocks += bool(text and not before)
        before = text
    return 1 < blocks < lines <= LONGEST_PARAGRAPH * blocks


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    """Number the lines, blank ones as empty texts."""
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            yield number, line.strip("\r\n\ufeff").rstrip()


def _paragraphs(source: Source) -> Iterator[tuple[int, str]]:
    """Join the lines between blank ones; the number is that of the first."""
    for filled, group in groupby(_lines(source), key=lambda numbered: bool(numbered[1])):
        if filled:
            lines = list(group)
            yield lines[0][0], "\n".join(text for _, text in lines)
