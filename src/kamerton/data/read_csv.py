"""Read CSV and TSV in whatever dialect they are: delimiter, quotes and escapes; cells stay the text they are."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal

from kamerton.core.messages import Message, Wording, msg
from kamerton.data.encoding import Source
from kamerton.data.head import UNCLOSED, Record, fill
from kamerton.data.read_conll import is_webanno, looks_like_conll, read_conll, read_webanno
from kamerton.data.table import Table

DELIMITERS = "\t|;,"
"""Delimiters, the one that is rarest in prose first."""
SEPARATOR = re.compile(r'\ufeff?"?sep=(.)"?[\r\n]*', re.IGNORECASE)
"""The line that tells Excel the delimiter."""
QUOTED = re.compile(r' +"[^"]*" *')
LINES, LETTERS = 1000, 1 << 18
"""How much of a file is looked at."""
LARGEST_CELL = 2**31 - 1
"""Characters in a cell; long documents exceed Python's default limit of 131,072."""
EVEN, FEWEST = 0.95, 4
"""Share of rows of equal width, and number of rows, from which on plain text is a table."""
MOST_LABELS, REPEATED, LONGEST_LABEL, LABEL_WORDS = 20, 4, 40, 3
MARK = re.compile(r"[+-]?\d{1,2}|[A-Z]+:\w+|[A-Z]{2,}|__\w+")
"""A label that is separated from its text by a space; any other word would begin a sentence."""
SIDES: Sequence[Literal["first", "last"]] = ("last", "first")
RAW_QUOTES = msg("quotes are read as characters")
"""The note on a file without quoting."""


@dataclass(frozen=True)
class Dialect:
    """How cells are separated and quoted."""

    delimiter: str
    quote: str = '"'
    """The quote character; empty if there are no quotes."""
    escaped: bool = False
    """Whether a backslash escapes the character after it."""
    spaced: bool = False
    """Whether spaces may stand beside quotes."""
    skipped: int = 0
    """Lines before the table that only describe its dialect."""
    once: Literal["", "first", "last"] = ""
    """Whether a line is split only once, at the first or last delimiter: the text may hold more of them."""

    @property
    def notes(self) -> list[Message]:
        """What is unusual."""
        unusual = (
            (self.escaped, msg("a backslash before a quote or delimiter makes it part of its cell")),
            (self.spaced, msg("spaces beside quotes are ignored")),
            (self.quote == "'", msg("cells are quoted by single quotes")),
            (not self.quote, RAW_QUOTES),
        )
        return [note for true, note in unusual if true]


@dataclass(frozen=True)
class Sample:
    """The first records of a file, read in one dialect."""

    dialect: Dialect
    records: tuple[Record, ...]
    fit: float
    """Share of the records that are as wide as the header."""
    width: int
    begins: bool = True
    """Whether only comments come before the header."""
    commented: bool = False
    """Whether the last comment is as wide: it may be the header."""

    @property
    def likely(self) -> tuple[bool, bool, float, bool, int]:
        """A rank: the largest one belongs to the right delimiter."""
        return self.width > 1, self.begins, round(self.fit, 1), self.commented, self.width


def read_csv(source: Source) -> Table:
    """Read rows delimited by a comma, a semicolon, a tab or a bar, whichever fits most rows."""
    return read_cells(source, find_dialect(source), "csv")


def read_tsv(source: Source) -> Table:
    """Read rows delimited by tabs, or by another sign if there are none."""
    if is_webanno(source):
        return read_webanno(source)
    return read_conll(source) if looks_like_conll(source) else read_cells(source, find_dialect(source), "tsv")


def read_cells(source: Source, sample: Sample, format: str) -> Table:
    """Read a table that is written in a known way."""
    dialect, first = sample.dialect, sample.records
    if dialect.delimiter == "\t" and _quotes_are_letters(source, dialect):
        dialect = replace(dialect, quote="")
        first = tuple(islice(_records(source.lines(), dialect), len(first)))
    filling = fill(source.file, first, _records(source.lines(), dialect), source.options, {})
    return filling.table(format, source.encoding.label, [*source.notes, *dialect.notes])


def _quotes_are_letters(source: Source, dialect: Dialect) -> bool:
    """Return whether quotes between tabs are plain characters.

    The format has none (IANA, text/tab-separated-values), though spreadsheets write it. A cell that seems to hold a
    tab and a line's end is the beginning of one row and the end of another.
    """
    return any(
        record.fault or (record.last > record.first and any("\t" in cell and "\n" in cell for cell in record.cells))
        for record in _records(source.lines(), dialect)
    )


def find_dialect(source: Source) -> Sample:
    """Find the dialect of a file: most rows are as wide as the header, and then the header is widest.

    Other quotes and backslashes are tried where rows do not fit.
    """
    lines, cut = _first_lines(source)
    separator = SEPARATOR.fullmatch(lines[0]) if lines else None
    signs = separator[1] if separator else DELIMITERS
    plain = [_sampled(lines, cut, Dialect(sign, skipped=int(separator is not None))) for sign in signs]
    best = max(plain, key=lambda sample: sample.likely)
    wide = [sample for sample in plain if sample.width > 1]
    ways = [_sampled(lines, cut, way) for sample in wide for way in _other_ways(lines, sample.dialect)]
    for way in ways:
        as_good = way.dialect.spaced and way.fit == best.fit and not best.dialect.notes
        quoted = as_good and any(QUOTED.fullmatch(cell) for record in best.records for cell in record.cells)
        if way.width > 1 and (way.fit > best.fit or quoted):
            best = way
    return best


def _records(lines: Iterable[str], dialect: Dialect) -> Iterator[Record]:
    """Yield the rows, blank ones included."""
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
        first, cells = before + reader.line_num + 1, list[str]()
        fault: Wording = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = str(error) == "unexpected end of data"
            fault = UNCLOSED if unclosed else msg("its quotes are malformed: {error}", error=str(error))
        yield Record(first, before + reader.line_num, cells, fault)


def _halved(lines: Iterable[str], dialect: Dialect) -> Iterator[Record]:
    for number, line in enumerate(lines, dialect.skipped + 1):
        part = line.rpartition if dialect.once == "last" else line.partition
        cells = [cell.strip("\ufeff \r\n") for cell in part(dialect.delimiter)[::2]]
        yield Record(number, number, cells if line.strip() else [], "")


def _mended(lines: Iterable[str], dialect: Dialect) -> Iterable[str]:
    """Rewrite lines in the form that Python's reader takes."""
    sign = re.escape(dialect.delimiter)
    if dialect.escaped:  # a backslash before any other character is literal
        escape = re.compile(rf"\\([\"'\\{sign}\r\n]?)")
        return (escape.sub(lambda found: found[0] if found[1] else "\\\\", line) for line in lines)
    if dialect.spaced:
        beside = re.compile(rf'(?<!")" +(?={sign}|\r?\n|\Z)')
        return (beside.sub('"', line) for line in lines)
    return lines


def find_table(source: Source) -> Sample | None:
    """Find a table in what may be plain text: one of its columns repeats a few short words."""
    sample = find_dialect(source)
    rows = [record.cells for record in sample.records if record.used]
    is_wide = sample.width > 1 and sample.fit >= EVEN and len(rows) >= FEWEST
    if is_wide and (sample.dialect.delimiter == "\t" or any(_labels([row[at] for row in rows]) for at in (0, -1))):
        return sample
    lines, cut = _first_lines(source)
    halves = [Dialect(sign, once=side) for sign in "\t;|," for side in SIDES] + [Dialect(" ", once="first")]
    for dialect in halves:
        sample = _sampled(lines, cut, dialect)
        words = [record.cells[0 if dialect.once == "first" else -1] for record in sample.records if record.used]
        if sample.fit >= EVEN and _labels(words) and (dialect.delimiter != " " or all(map(MARK.fullmatch, words))):
            return sample
    return None


def _labels(cells: Sequence[str]) -> bool:
    distinct = {cell.strip() for cell in cells}
    short = all(0 < len(cell) <= LONGEST_LABEL and len(cell.split()) <= LABEL_WORDS for cell in distinct)
    short = short and not any(cell.endswith((".", "!", "?", "…")) for cell in distinct)  # the end of a sentence
    return short and 2 <= len(distinct) <= MOST_LABELS and len(distinct) * REPEATED <= len(cells)


def _first_lines(source: Source) -> tuple[list[str], bool]:
    """Return the first lines, and whether there are more."""
    lines, letters = list[str](), 0
    for line in source.lines():
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
    commented = bool(comments) and len(comments[-1].cells) == width
    return Sample(dialect, found, right / len(below) if below else 1.0, width, header in rows[:1], commented)


def _other_ways(lines: Sequence[str], dialect: Dialect) -> Iterator[Dialect]:
    text, sign = "".join(lines), re.escape(dialect.delimiter)
    if "\\" in text:
        yield replace(dialect, escaped=True)
    if dialect.delimiter != " " and re.search(rf'(?:^|{sign}) +"|[^"]" +(?:{sign}|$)', text, re.MULTILINE):
        yield replace(dialect, spaced=True)
    if re.search(rf"(?:^|{sign})'", text, re.MULTILINE):
        yield replace(dialect, quote="'")
