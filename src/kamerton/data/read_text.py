"""Read plain text: each line is a row, or each paragraph where blank lines part them; fastText's labels are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from kamerton.core.messages import msg
from kamerton.data.dialect import find_table
from kamerton.data.encoding import Source, flaw
from kamerton.data.read_conll import looks_like_conll, read_conll
from kamerton.data.read_csv import read_cells
from kamerton.data.table import Collector, Table

LABEL = "__label__"
"""What fastText's labels begin with, which stand before their text (fasttext.cc/docs/en/supervised-tutorial.html)."""
NO_LABEL = msg("no label stands before the text: {example}", example=f"{LABEL}good")
LONGEST_PARAGRAPH = 20
"""Lines of a paragraph on average; from here on, blank lines part something larger, and lines are the rows."""


def read_text(source: Source) -> Table:
    """Read lines or paragraphs into the column `text`; files of tokens and tags, and of labels, as what they are."""
    if looks_like_conll(source):
        return read_conll(source)
    if _first(source).startswith(LABEL):
        return _read_labelled(source)
    if found := find_table(source):
        return read_cells(source, found, "csv")
    rows, paragraphs = Collector(source.file), _has_paragraphs(source)
    for line, text in _paragraphs(source) if paragraphs else _lines(source):
        if text and (reason := flaw(text)):
            rows.reject(line, reason)
        elif text:
            rows.accept(line, {"text": text})
    note = msg("each paragraph is a row") if paragraphs else msg("each line is a row")
    return rows.table(("text",), "txt", source.encoding.label, [*source.notes, note])


def looks_like_table(source: Source) -> bool:
    """Return whether the lines are rows of cells, or have labels before their texts."""
    return _first(source).startswith(LABEL) or find_table(source) is not None


def _first(source: Source) -> str:
    return next((text for _, text in _lines(source) if text), "")


def _read_labelled(source: Source) -> Table:
    rows = Collector(source.file)
    for line, text in _lines(source):
        words = text.split()
        labels = [word.removeprefix(LABEL) for word in words if word.startswith(LABEL)]
        rest = " ".join(word for word in words if not word.startswith(LABEL))
        if text and (reason := flaw(text) or ("" if labels else NO_LABEL)):
            rows.reject(line, reason)
        elif text:
            rows.accept(line, {"text": rest, "labels": labels})
    note = msg("the words that begin with {prefix} are labels", prefix=LABEL)
    table = rows.table(("text", "labels"), "fasttext", source.encoding.label, [*source.notes, note])
    return replace(table, reshaped=True)


def _has_paragraphs(source: Source) -> bool:
    lines = blocks = 0
    before = ""
    for _, text in _lines(source):
        lines += bool(text)
        blocks += bool(text and not before)
        before = text
    return 1 < blocks < lines <= LONGEST_PARAGRAPH * blocks


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, blank ones as empty texts."""
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            yield number, line.strip("\r\n\ufeff").rstrip()


def _paragraphs(source: Source) -> Iterator[tuple[int, str]]:
    for filled, group in groupby(_lines(source), key=lambda numbered: bool(numbered[1])):
        if filled:
            lines = list(group)
            yield lines[0][0], "\n".join(text for _, text in lines)
