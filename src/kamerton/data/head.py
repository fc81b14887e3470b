"""Find the header of a table of cells: the line that names its columns, if there is one, and what stands before it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from kamerton.core import registry
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Message, Wording, msg
from kamerton.data.encoding import flaw
from kamerton.data.spelling import same
from kamerton.data.table import MEND, Collector, Options, Table, unique_columns

UNCLOSED = msg("a quote is opened in this row and never closed")
LONGEST_NAME = 100
"""Characters in a column's name; a longer one is text, and the file has no header."""
MOST_BEFORE = 20
"""Lines that may stand before the header."""
BELOW = 3
"""A table has at least this many times the lines of a block above it."""
MOSTLY = 0.9
OFTEN = 0.1
"""A label fills at least this share of the cells; a header that is repeated in joined files does not."""
WORDY = 4
"""Words per cell, on average, from which on a column holds texts."""
SURELY_WORDY = 12
USUAL = ("id", "idx", "index", "date", "time", "user", "author", "name", "номер", "дата", "автор")
"""Frequent names of columns without a role."""
SHOWN = 60
"""Characters shown of a line."""
QUOTE = msg("cells that hold the delimiter need double quotes: write the file again, for example with pandas' to_csv")
"""The remedy where most rows have more cells than the header."""
COMMENT = "#"
NAMELESS = msg("the first line is a row, not a header: the columns are called 'column 1', 'column 2' and so on")
"""The note on a table without a header."""


@dataclass(frozen=True)
class Record:
    """The cells of one row, its first and last line, and what is wrong with it."""

    first: int
    last: int
    cells: Sequence[Any]
    fault: Wording = ""

    @property
    def blank(self) -> bool:
        """Whether its line is blank."""
        return not self.fault and len(self.cells) <= 1 and not any(_text(cell) for cell in self.cells)

    @property
    def used(self) -> int:
        """The number of cells up to the last one that is not empty."""
        return next((at for at in range(len(self.cells), 0, -1) if _text(self.cells[at - 1])), 0)

    @property
    def comment(self) -> bool:
        """Whether it begins as a comment does."""
        return bool(self.cells) and _text(self.cells[0]).startswith(COMMENT)


@dataclass(frozen=True)
class Head:
    """The names of a table's columns."""

    names: tuple[str, ...]
    named: int
    """How many columns the header names; those after it have no name."""
    line: int
    """The last line before the rows; 0 if the first line is a row."""
    comments: bool = False
    """Whether comments stand before the header, so that lines of another width that begin so are comments, too."""
    notes: tuple[Message, ...] = ()

    def misfit(self, record: Record) -> Wording:
        """Return why a record does not fit the columns; an empty string if it does."""
        found, width = len(record.cells), len(self.names)
        if self.named <= found and (found == width or record.used <= width):
            return ""
        return msg("has {cells} {cells:cell|cells}, the header has {width}", cells=found, width=width)


@dataclass
class Filling:
    """A table that is filled record by record."""

    head: Head
    rows: Collector
    options: Options
    beside: Mapping[str, object]
    """Further values of every row."""
    strays: Counter[str] = field(default_factory=Counter)
    """Rows that hold something in a column without a name, by the name given to it."""
    passed: int = 0
    """Comments among the rows."""
    wider: int = 0
    """Rows of more cells than the header."""

    def take(self, record: Record) -> None:
        """Add a record, reject it with the reason, or skip it if it is no row; refuse a quote that swallows lines."""
        head, names = self.head, self.head.names
        if record.blank:
            if self.options.blank_rows and len(names) == 1:
                self.rows.accept(record.first, {names[0]: ""})
            return
        if record.fault == UNCLOSED and record.last > record.first:
            lines = record.last - record.first
            rule = msg("{fault}: it swallows {lines} more {lines:line|lines}", fault=UNCLOSED, lines=lines)
            remedy = msg('close it; a quote inside a quoted cell is written twice ("")')
            raise DataError(Fault(rule, f"{self.rows.file}:{record.first}", remedy))
        misfit = head.misfit(record)
        if misfit and head.comments and record.comment:
            self.passed += 1
        elif reason := record.fault or misfit or flaw("".join(cell for cell in record.cells if isinstance(cell, str))):
            self.wider += len(record.cells) > len(names)
            if (lines := record.last - record.first + 1) > 1:
                reason = msg("{reason} ({lines} lines were read as one row: is a quote not closed?)", reason=reason,
                             lines=lines)  # fmt: skip
            self.rows.reject(record.first, reason)
        else:
            self.rows.accept(record.first, self._values(record.cells))

    def _values(self, cells: Sequence[Any]) -> dict[str, object]:
        names, named = self.head.names, self.head.named
        values = {**dict(zip(names, cells, strict=False)), **self.beside}
        for name in names[named:]:
            if _text(values.get(name, "")):
                self.strays[name] += 1
            else:
                values.pop(name, None)
        return values

    def table(self, format: str, encoding: str, notes: Sequence[Wording]) -> Table:
        """Return the table; raise `DataError` if there are no rows, or most of them were rejected."""
        head = self.head
        found = [
            msg("{rows} {rows:row has|rows have} something in a column without a name: '{name}'", rows=count, name=name)
            for name, count in self.strays.items()
        ]
        found += [msg("comments among the rows are skipped: {count}", count=self.passed)] if self.passed else []
        names = [*head.names[: head.named], *(name for name in head.names[head.named :] if self.strays[name])]
        columns, notes = dict.fromkeys([*names, *self.beside]), [*notes, *head.notes, *found]
        remedy = QUOTE if 2 * self.wider > len(self.rows.rejected) else MEND
        return self.rows.table(columns, format, encoding, notes, remedy)


def fill(
    file: str, sample: Sequence[Record], records: Iterable[Record], options: Options, beside: Mapping[str, object]
) -> Filling:
    """Return a table of records, with the columns that the first ones show; refuse an unusable header."""
    filling = Filling(find_head(file, sample, options.header), Collector(file), options, beside)
    for record in records:
        if record.first > filling.head.line:
            filling.take(record)
    return filling


def find_head(file: str, sample: Sequence[Record], header: bool | None) -> Head:
    """Find the names of the columns among the first records; `header` says whether there is one, if that is known."""
    records = [record for record in sample if not record.blank and record.used]
    if not records:
        raise DataError(Fault(msg("the file is empty"), file, msg("name a file with rows to learn from")))
    at = 0 if header is False and not records[0].comment else _after_block(sample) or _header_at(records)
    found, before = records[at], records[:at]
    if header is None and not found.fault and looks_like_row(found, records[at + 1 :]):
        header = False
        if before and before[-1].comment and not _row_among(before[-1], records[at:]):
            commented, header = before.pop(), None
            found = replace(commented, cells=[_text(commented.cells[0]).lstrip(COMMENT + " "), *commented.cells[1:]])
    if header is False:
        records = records[at:] if before and all(record.comment for record in before) else records
        usable = [record for record in records if not record.fault] or records
        [(width, _)] = Counter(len(record.cells) for record in usable).most_common(1)
        names = tuple(f"column {number}" for number in range(1, width + 1))
        last = before[-1].last if before else records[0].first - 1
        return Head(names, width, last, bool(before), (NAMELESS,))
    return _named(file, found, before, records[at + 1 :])


def _named(file: str, header: Record, before: Sequence[Record], below: Sequence[Record]) -> Head:
    place, named = f"{file}:{header.first}", header.used
    cells = [_text(cell) for cell in header.cells]
    reason = header.fault or flaw("".join(cells))
    beyond = sum(record.used > named for record in below) * 2 > len(below)
    if not reason and sum(map(bool, cells)) * 2 < (len(cells) if beyond else named):
        reason = msg("most cells are empty")
    if not reason and any(len(cell) > LONGEST_NAME or "\n" in cell for cell in cells):
        reason = msg("a cell is a text")
    if reason:
        rule = msg("the first line does not name the columns: {reason}", reason=reason)
        remedy = msg("write names into the first line, such as text,label; if it is a row: `--set data.header=false`")
        raise DataError(Fault(rule, place, remedy))
    names = unique_columns([cell or f"column {number}" for number, cell in enumerate(cells, 1)], place)
    unnamed = [name for name, cell in zip(names[:named], cells, strict=False) if not cell]
    notes = [msg("a column without a name is called '{name}'", name=name) for name in unnamed]
    if before:
        count, first = len(before), _text(before[0].cells[0])[:SHOWN]
        notes += [msg("lines before the header are skipped: {count}, the first is '{first}'", count=count, first=first)]
    return Head(names, named, header.last, any(record.comment for record in before), tuple(notes))


def _header_at(records: Sequence[Record]) -> int:
    """Return the index of the first record that is neither a comment nor a title above the table."""
    at = 0
    while at < len(records) - 1 and at < MOST_BEFORE and records[at].comment:
        at += 1
    if looks_like_row(records[at], records[at + 1 :]):
        rows = [number for number, record in enumerate(records[:at]) if _row_among(record, records[at:])]
        if rows:  # it begins like a comment but is a row like the others
            return rows[0]
    titles = at
    while titles < min(len(records) - 2, MOST_BEFORE) and _is_title(records[titles], records[titles + 1 :]):
        titles += 1
    found = records[titles]
    if titles > at and (looks_like_row(found, records[titles + 1 :]) or found.used < 2):
        return at
    return titles


def _after_block(sample: Sequence[Record]) -> int:
    """Return the size of a block of another width that a blank line separates from the table; 0 if there is none.

    Reports begin with such lines: `Date:,2024-01-02`.
    """
    gap = next((at for at, record in enumerate(sample) if record.blank and any(not r.blank for r in sample[:at])), 0)
    block = [record for record in sample[:gap] if not record.blank]
    header, *rows = [record for record in sample[gap:] if not record.blank] or [Record(0, 0, ())]
    width = len(header.cells)
    names = any(same(_text(cell)) in _known() for record in block[:1] for cell in record.cells)
    if names or width < 2 or len(rows) < BELOW * len(block) or any(len(record.cells) == width for record in block):
        return 0
    even = sum(len(record.cells) == width for record in rows) >= MOSTLY * len(rows)
    return len(block) if even and header.used == width and not looks_like_row(header, rows) else 0


def _is_title(record: Record, rest: Sequence[Record]) -> bool:
    """Return whether a record is a single cell above a table of several columns."""
    wide = [other for other in rest if other.used > 1]
    if record.fault or record.used > 1 or len(wide) < MOSTLY * len(rest):
        return False
    _, most = Counter(len(other.cells) for other in wide).most_common(1)[0] if wide else (0, 0)
    return most >= MOSTLY * len(wide) > 0


def _row_among(record: Record, rows: Sequence[Record]) -> bool:
    return len(record.cells) == len(rows[0].cells) and looks_like_row(record, rows)


def looks_like_row(record: Record, rows: Sequence[Record]) -> bool:
    """Return whether a first line is surely a row: a cell is like those below it, and no cell is a name."""
    below = [row.cells for row in rows if not row.fault and len(row.cells) == len(record.cells)]
    if not below:
        return False
    columns = [[text for cell in column if (text := _text(cell))] for column in zip(*below, strict=True)]
    signs = [_sign(_text(cell), column) for cell, column in zip(record.cells, columns, strict=True)]
    return min(signs) >= 0 and max(signs) > 0


def _sign(name: str, cells: Sequence[str]) -> int:
    """Return 1 if a cell of a first line is like those below it, -1 if it is a name, 0 if it may be either."""
    if not name or not cells:
        return -1 if cells and not name and len(cells) > 1 and all(map(_number, cells)) else 0
    if same(name) in _known() and cells.count(name) < OFTEN * len(cells):
        return -1
    if len(name) > LONGEST_NAME or "\n" in name:
        return 1
    numbers = sum(map(_number, cells)) >= MOSTLY * len(cells)
    if numbers or _number(name):
        return 1 if numbers and _number(name) else -1
    if name in cells:
        return 1
    words, average = len(name.split()), sum(len(cell.split()) for cell in cells) / len(cells)
    if average >= WORDY:
        return _worded(name, words, average)
    shape, most = Counter(map(_shape, cells)).most_common(1)[0]
    if "9" in shape and most >= MOSTLY * len(cells):
        return 1 if _shape(name) == shape else -1
    return 0


def _worded(name: str, words: int, average: float) -> int:
    """Return the sign of a cell above a column of texts: questions of a survey and short titles are names."""
    if name.endswith(("?", ":")):
        return 0
    if words >= WORDY and words >= min(average / 2, SURELY_WORDY):
        return 1
    return -1 if words < WORDY - 1 and name[-1].isalnum() else 0


def _shape(text: str) -> str:
    """Reduce a text to the kinds of its characters.

    >>> _shape("user_17"), _shape("2024-01-02 10:00")
    ('a_9', '9-9-9 9:9')
    """
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def _number(text: str) -> bool:
    return text.replace(",", ".", 1).replace(".", "", 1).removeprefix("-").isdecimal()


@cache
def _known() -> frozenset[str]:
    """Return the names that columns of tasks have, normalized."""
    roles = [role for word in registry.names("tasks") for role in registry.choose("tasks", word).roles]
    return frozenset(same(name) for role in roles for name in (role.name, *role.spellings, *role.weak, *USUAL))


def _text(cell: object) -> str:
    return cell.strip("\ufeff \t\r\n") if isinstance(cell, str) else "" if cell is None else str(cell)
