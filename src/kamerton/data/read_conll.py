"""Read CoNLL files: a token and its tag on each line, a blank line between sentences; a sentence is a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from kamerton.core.messages import Wording, msg
from kamerton.data.encoding import Source, flaw
from kamerton.data.table import Collector, Table

LOOKED_AT = 2000
"""Lines looked at to tell a CoNLL file from other text."""
MOST_COLUMNS = 20
SPAN_TAG = re.compile(r"O|[BIESLUM]-\S+")
"""Tags of spans: inside, outside, beginning, and variants."""
SPANS = 0.9
"""Share of tags of this form from which on they are tags, not words."""
SENTENCE_IS_ROW = msg("a sentence is a row")
DOCUMENT = "-DOCSTART-"
ASIDE = ("# ", DOCUMENT)
"""What lines begin with that hold no token."""
UNIVERSAL = 10
"""Columns of CoNLL-U (universaldependencies.org/format.html): the form is the second, its part of speech the fourth."""


@dataclass
class _TaggedSentence:
    line: int
    rows: list[list[str]] = field(default_factory=list)


def read_conll(source: Source) -> Table:
    """Read the first column as tokens and the last as tags (of CoNLL-U: forms and parts of speech)."""
    rows, width = Collector(source.file), width_of(source)
    for sentence in _sentences(source, width):
        if reason := _fault(sentence, width):
            rows.reject(sentence.line, reason)
            continue
        words = [cells for cells in sentence.rows if width != UNIVERSAL or cells[0].isdecimal()]
        token, tag = (1, 3) if width == UNIVERSAL else (0, -1)
        rows.accept(sentence.line, {"tokens": [cells[token] for cells in words], "tags": [c[tag] for c in words]})
    notes: list[Wording] = [*source.notes, SENTENCE_IS_ROW]
    return replace(rows.table(("tokens", "tags"), "conll", source.encoding.label, notes), reshaped=True)


def looks_like_conll(source: Source) -> bool:
    """Return whether a text has blank lines between blocks of lines with equally many columns, the last of tags."""
    rows = blanks = spans = width = 0
    with source.open() as lines:
        for line in islice(lines, LOOKED_AT):
            cells = line.split(maxsplit=MOST_COLUMNS)
            if not cells or line.startswith(("#", DOCUMENT)):
                blanks += not cells
                continue
            width = width or len(cells)
            more = 1 < width < len(cells) and bool(SPAN_TAG.fullmatch(cells[width - 1]))
            if not 2 <= width <= MOST_COLUMNS or (len(cells) != width and not more):
                return False
            rows += 1
            spans += more or bool(SPAN_TAG.fullmatch(cells[-1]))
    return blanks > 0 and 0 < SPANS * rows <= spans


def width_of(source: Source) -> int:
    """Return how many columns most lines of tokens have."""
    with source.open() as lines:
        bare = (line.strip("\ufeff \t\r\n") for line in islice(lines, LOOKED_AT))
        widths = Counter(len(_cells(line, 0)) for line in bare if line and not line.startswith(ASIDE))
    return max(widths, key=lambda width: widths[width], default=0)


def _cells(line: str, width: int) -> list[str]:
    """Split a line at tabs, else at spaces; cells beyond the width belong to a tag that has spaces."""
    cells = line.split("\t") if "\t" in line else line.split()
    if 1 < width < len(cells) and "\t" not in line and SPAN_TAG.fullmatch(cells[width - 1]):
        return [*cells[: width - 1], " ".join(cells[width - 1 :])]
    return cells


def _sentences(source: Source, width: int) -> Iterator[_TaggedSentence]:
    sentence = _TaggedSentence(0)
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            bare = line.strip("\ufeff \t\r\n")
            if not bare:
                if sentence.rows:
                    yield sentence
                sentence = _TaggedSentence(0)
            elif not bare.startswith(ASIDE):
                sentence.line = sentence.line or number
                sentence.rows.append(_cells(bare, width))
    if sentence.rows:
        yield sentence


def _fault(sentence: _TaggedSentence, width: int) -> Wording:
    if width < 2:
        return msg("a token stands without a tag: two columns are needed")
    for number, cells in enumerate(sentence.rows):
        if len(cells) != width:
            return msg(
                "line {line} has {columns} {columns:column|columns}, the first has {width}",
                line=str(sentence.line + number),
                columns=len(cells),
                width=width,
            )
    return flaw("".join(cell for cells in sentence.rows for cell in cells))
