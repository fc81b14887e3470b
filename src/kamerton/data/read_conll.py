"""Read CoNLL files: a token and its tag on each line, a blank line between sentences; a sentence is a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from kamerton.data.encoding import Source, flaw
from kamerton.data.table import Collector, Table

LOOKED_AT = 2000
"""Lines looked at to tell a CoNLL file from other text."""
MOST_COLUMNS = 20
SPAN_TAG = re.compile(r"O|[BIESLUM]-\S+")
"""Tags of spans: inside, outside, beginning, and their kin."""
SPANS = 0.9
"""Share of tags of this form from which on they are tags, not words."""
DOCUMENT = "-DOCSTART-"
UNIVERSAL = 10
"""Columns of CoNLL-U (universaldependencies.org/format.html): the form is the second, its part of speech the fourth."""


@dataclass
class _Sentence:
    """The lines of a sentence, as they come."""

    line: int
    rows: list[list[str]] = field(default_factory=list)


def read_conll(source: Source) -> Table:
    """Read the first column as tokens and the last as tags (of CoNLL-U: forms and parts of speech).

    Raises:
        DataError: no sentences, or mostly bad ones.
    """
    rows, width = Collector(source.file), 0
    for sentence in _sentences(source):
        width = width or len(sentence.rows[0])
        if reason := _fault(sentence, width):
            rows.reject(sentence.line, reason)
            continue
        words = [cells for cells in sentence.rows if width != UNIVERSAL or cells[0].isdecimal()]
        token, tag = (1, 3) if width == UNIVERSAL else (0, -1)
        rows.accept(sentence.line, {"tokens": [cells[token] for cells in words], "tags": [c[tag] for c in words]})
    notes = [*source.notes, "a sentence is a row"]
    return replace(rows.table(("tokens", "tags"), "conll", source.encoding.name, notes), reshaped=True)


def looks_like_conll(source: Source) -> bool:
    """Say whether a text has blank lines between blocks of lines of equally many columns, the last of spans' tags."""
    rows = blanks = spans = width = 0
    with source.open() as lines:
        for line in islice(lines, LOOKED_AT):
            cells = line.split(maxsplit=MOST_COLUMNS)
            if not cells or line.startswith(("#", DOCUMENT)):
                blanks += not cells
                continue
            width = width or len(cells)
            if not 2 <= width == len(cells) <= MOST_COLUMNS:
                return False
            rows += 1
            spans += bool(SPAN_TAG.fullmatch(cells[-1]))
    return blanks > 0 and 0 < SPANS * rows <= spans


def _sentences(source: Source) -> Iterator[_Sentence]:
    sentence = _Sentence(0)
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            bare = line.strip("\ufeff \t\r\n")
            if not bare:
                if sentence.rows:
                    yield sentence
                sentence = _Sentence(0)
            elif not bare.startswith(("# ", DOCUMENT)):
                sentence.line = sentence.line or number
                sentence.rows.append(bare.split("\t") if "\t" in bare else bare.split())
    if sentence.rows:
        yield sentence


def _fault(sentence: _Sentence, width: int) -> str:
    """Say why a sentence cannot be used; an empty string if it can."""
    if width < 2:
        return "a token stands without a tag: two columns are needed"
    for number, cells in enumerate(sentence.rows):
        if len(cells) != width:
            return f"line {sentence.line + number} has {len(cells)} columns, the first has {width}"
    return flaw("".join(cell for cells in sentence.rows for cell in cells))
