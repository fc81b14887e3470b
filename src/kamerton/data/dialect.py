"""How a text file parts its rows into cells: the sign between them, the quotes, and what escapes them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from kamerton.data.encoding import Source
from kamerton.data.head import UNCLOSED, Record

DELIMITERS = "\t|;,"
"""Signs between cells, the one that prose has least of first."""
SEPARATOR = re.compile(r'\ufeff?"?sep=(.)"?[\r\n]*', re.IGNORECASE)
"""The line that tells Excel what stands between cells."""
QUOTED = re.compile(r' +"[^"]*" *')
LINES, LETTERS = 1000, 1 << 18
"""How much of a file is looked at."""
LARGEST_CELL = 2**31 - 1
"""Characters in a cell; Python's own limit of 131,072 is less than a long document has."""
EVEN, FEWEST = 0.95, 4
"""Share of the rows of equal width, and rows, from which on plain text is a table."""
MOST_LABELS, REPEATED, LONGEST_LABEL, LABEL_WORDS = 20, 4, 40, 3
MARK = re.compile(r"[+-]?\d{1,2}|[A-Z]+:\w+|[A-Z]{2,}|__\w+")
"""A label that a space parts from its text, where a word would be the first of a sentence."""
SIDES: Sequence[Literal["first", "last"]] = ("last", "first")
ESCAPED = "a quote or a sign between cells after a backslash belongs to its cell"
SPACED = "spaces beside quotes are passed over"
SINGLE = "single quotes quote"
RAW_QUOTES = "quotes are read as characters"
"""What is noted of a file without quoting."""


@dataclass(frozen=True)
class Dialect:
    """How cells are parted and quoted."""

    delimiter: str
    quote: str = '"'
    """What a cell is quoted with; empty if nothing is."""
    escaped: bool = False
    """Whether a backslash makes the sign after it part of its cell."""
    spaced: bool = False
    """Whether spaces stand beside quotes."""
    skipped: int = 0
    """Lines before the table that only say how it is written."""
    once: Literal["", "first", "last"] = ""
    """Whether a line is parted once only, at the first or the last such sign: the text may hold more of them."""

    @property
    def notes(self) -> list[str]:
        """What is unusual."""
        told = {ESCAPED: self.escaped, SPACED: self.spaced, SINGLE: self.quote == "'", RAW_QUOTES: not self.quote}
        return [note for note, true in told.items() if true]


@dataclass(frozen=True)
class Sample:
    """The first records of a file, read in the way that fits it best."""

    dialect: Dialect
    records: tuple[Record, ...]
    fit: float
    """Share of the records that are as wide as the header."""
    width: int
    begins: bool = True
    """Whether nothing stands before the header but comments."""
    told: bool = False
    """Whether the last comment is as wide, as a header behind a comment's sign is."""

    @property
    def likely(self) -> tuple[bool, float, bool, int]:
        """What is larger where the sign is the right one."""
        return self.begins, round(self.fit, 1), self.told, self.width


def find_dialect(source: Source, delimiters: str = DELIMITERS) -> Sample:
    """Find how a file is written: by which sign most rows are as wide as the header, then the header is widest.

    Other quotes and backslashes are tried where rows do not fit.
    """
    lines, cut = _first_lines(source)
    told = SEPARATOR.fullmatch(lines[0]) if lines else None
    skipped = 1 if told else 0
    signs = told.group(1) if told else delimiters
    plain = [_sampled(lines, cut, Dialect(sign, skipped=skipped)) for sign in signs]
    best = max(plain, key=lambda sample: (sample.width > 1, *sample.likely))
    wide = [sample for sample in plain if sample.width > 1]
    ways = [_sampled(lines, cut, way) for sample in wide for way in _other_ways(lines, sample.dialect)]
    for way in ways:
        quoted = way.dialect.spaced and way.fit == best.fit and not best.dialect.notes and _holds_quotes(best)
        if way.width > 1 and (way.fit > best.fit or quoted):
            best = way
    return best


def _holds_quotes(sample: Sample) -> bool:
    """Return whether cells hold a space and then quotes that were meant to be around them."""
    return any(QUOTED.fullmatch(cell) for record in sample.records for cell in record.cells)


def records(source: Source, dialect: Dialect) -> Iterator[Record]:
    """Go through the rows, blank ones included."""
    with source.open() as lines:
        yield from _records(lines, dialect)


def _records(lines: Iterable[str], dialect: Dialect) -> Iterator[Record]:
    csv.field_size_limit(LARGEST_CELL)
    lines = iter(lines)
    for _ in range(dialect.skipped):
        next(lines, "")
    if dialect.once:
        yield from _halved(lines, dialect)
        return
    reader = csv.reader(
        _mended(lines, dialect),
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        quotechar=dialect.quote or None,
        escapechar="\\" if dialect.escaped else None,
        skipinitialspace=dialect.spaced,
        strict=True,
    )
    before = dialect.skipped
    while True:
        first, cells, fault = before + reader.line_num + 1, list[str](), ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = UNCLOSED if str(error) == "unexpected end of data" else f"its quotes make no sense: {error}"
        yield Record(first, before + reader.line_num, cells, fault)


def _halved(lines: Iterable[str], dialect: Dialect) -> Iterator[Record]:
    for number, line in enumerate(lines, dialect.skipped + 1):
        part = line.rpartition if dialect.once == "last" else line.partition
        cells = [cell.strip("\ufeff \r\n") for cell in part(dialect.delimiter)[::2]]
        yield Record(number, number, cells if line.strip() else [], "")


def _mended(lines: Iterable[str], dialect: Dialect) -> Iterable[str]:
    """Write lines as Python's reader takes them."""
    sign = re.escape(dialect.delimiter)
    if dialect.escaped:  # a backslash before any other sign stands for itself
        escape = re.compile(rf"\\([\"'\\{sign}\r\n]?)")
        return (escape.sub(lambda found: found[0] if found[1] else "\\\\", line) for line in lines)
    if dialect.spaced:
        beside = re.compile(rf'(?<!")" +(?={sign}|\r?\n|\Z)')
        return (beside.sub('"', line) for line in lines)
    return lines


# ── a table in plain text ─────────────────────────────────────────────────────────────────────


def find_table(source: Source) -> Sample | None:
    """Find rows of cells in a file that may be plain text: a column of them holds a few short words over and over."""
    sample = find_dialect(source)
    rows = [record.cells for record in sample.records if record.used]
    wide = sample.width > 1 and sample.fit >= EVEN and len(rows) >= FEWEST
    if wide and (
        sample.dialect.delimiter == "\t" or any(_labels(column) for column in (_column(rows, 0), _column(rows, -1)))
    ):
        return sample
    lines, cut = _first_lines(source)
    halves = [Dialect(sign, once=side) for sign in "\t;|," for side in SIDES] + [Dialect(" ", once="first")]
    for dialect in halves:
        sample = _sampled(lines, cut, dialect)
        words = [record.cells[0 if dialect.once == "first" else -1] for record in sample.records if record.used]
        if sample.fit >= EVEN and _labels(words) and (dialect.delimiter != " " or all(map(MARK.fullmatch, words))):
            return sample
    return None


def _column(rows: Sequence[Sequence[str]], at: int) -> list[str]:
    return [row[at] for row in rows]


def _labels(cells: Sequence[str]) -> bool:
    """Return whether cells are few short words that come again and again."""
    distinct = {cell.strip() for cell in cells}
    short = all(0 < len(cell) <= LONGEST_LABEL and len(cell.split()) <= LABEL_WORDS for cell in distinct)
    short = short and not any(cell.endswith((".", "!", "?", "…")) for cell in distinct)  # the end of a sentence
    return short and 2 <= len(distinct) <= MOST_LABELS and len(distinct) * REPEATED <= len(cells)


# ── what is tried ─────────────────────────────────────────────────────────────────────────────


def _first_lines(source: Source) -> tuple[list[str], bool]:
    """Return the first lines, and whether there are more."""
    lines, letters = list[str](), 0
    with source.open() as file:
        for line in file:
            if len(lines) == LINES or letters > LETTERS:
                return lines, True
            lines.append(line)
            letters += len(line)
    return lines, False


def _sampled(lines: Sequence[str], cut: bool, dialect: Dialect) -> Sample:
    found = tuple(_records(lines, dialect))
    found = found[:-1] if cut and len(found) > 1 else found
    filled = [record for record in found if not record.blank]
    rows = [record for record in filled if not record.comment] or filled
    header = next(chain((row for row in rows if row.used > 1 or row.fault), rows), Record(0, 0, ()))
    width, below = len(header.cells), rows[rows.index(header) + 1 :] if rows else []
    right = sum(not row.fault and header.used <= len(row.cells) and row.used <= width for row in below)
    comments = [record for record in found if record.comment]
    told = bool(comments) and len(comments[-1].cells) == width
    return Sample(dialect, found, right / len(below) if below else 1.0, width, header in rows[:1], told)


def _other_ways(lines: Sequence[str], dialect: Dialect) -> Iterator[Dialect]:
    text, sign = "".join(lines), re.escape(dialect.delimiter)
    if "\\" in text:
        yield replace(dialect, escaped=True)
    if dialect.delimiter != " " and re.search(rf'(?:^|{sign}) +"|[^"]" +(?:{sign}|$)', text, re.MULTILINE):
        yield replace(dialect, spaced=True)
    if re.search(rf"(?:^|{sign})'", text, re.MULTILINE):
        yield replace(dialect, quote="'")
