"""Where a table of cells begins: the line that names the columns, what stands before it, and whether there is one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kamerton.core import registry
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Wording
from kamerton.data.encoding import flaw
from kamerton.data.options import Options
from kamerton.data.spelling import same
from kamerton.data.table import MEND, Collector, Table, unique_columns

UNCLOSED = "a quote is opened in this row and never closed"
LONGEST_NAME = 100
"""Characters in a column's name; a longer one is text, and the file has no header."""
MOST_BEFORE = 20
"""Lines that may stand before the columns' names."""
BELOW = 3
"""How many times the lines of a block above a table the table has at least."""
MOSTLY = 0.9
OFTEN = 0.1
"""Share of the cells that a label has and a header, repeated where files were put together, has not."""
WORDY = 4
"""Words of a cell, on average, from which on a column holds texts."""
SURELY_WORDY = 12
USUAL = ("id", "idx", "index", "date", "time", "user", "author", "name", "номер", "дата", "автор")
"""Names of columns that play no role and are seen often."""
SHOWN = 60
"""Letters of a line that are shown."""
QUOTE = (
    "cells that hold the sign between cells need double quotes: write the file anew, for example with pandas' to_csv"
)
"""What helps where most rows have more cells than the header."""
COMMENT = "#"
NAMELESS = "the first line is a row and names no columns: they are called 'column 1', 'column 2' and so on"
"""What is noted of a table without a header."""


@dataclass(frozen=True)
class Record:
    """One row as cells: the lines it stands on, and what is wrong with it, if anything."""

    first: int
    last: int
    cells: Sequence[Any]
    fault: str = ""

    @property
    def blank(self) -> bool:
        """Whether nothing stands on its line."""
        return not self.fault and len(self.cells) <= 1 and not any(_text(cell) for cell in self.cells)

    @property
    def used(self) -> int:
        """How many cells there are up to the last that holds anything."""
        return next((at for at in range(len(self.cells), 0, -1) if _text(self.cells[at - 1])), 0)

    @property
    def comment(self) -> bool:
        """Whether it begins like a comment."""
        return bool(self.cells) and _text(self.cells[0]).startswith(COMMENT)


@dataclass(frozen=True)
class Head:
    """The names of a table's columns and where its rows begin."""

    names: tuple[str, ...]
    named: int
    """How many columns the header names; those after it stand without a name."""
    line: int
    """The last line that is no row; 0 if the first one is."""
    comments: bool = False
    """Whether comments stand before the names, so that lines of another width that begin so are comments, too."""
    notes: tuple[str, ...] = ()

    def misfit(self, record: Record) -> str:
        """Return why a record's cells do not stand under the names; an empty string if they do."""
        found = len(record.cells)
        if self.named <= found and (found == len(self.names) or record.used <= len(self.names)):
            return ""
        return f"has {found} {'cell' if found == 1 else 'cells'}, the header has {len(self.names)}"


@dataclass
class Filling:
    """A table that grows record by record under its head."""

    head: Head
    rows: Collector
    options: Options
    beside: Mapping[str, object] = field(default_factory=dict)
    """What every row has beside its cells."""
    strays: Counter[str] = field(default_factory=Counter)
    """By the name given to a column without one: how many rows hold something there."""
    passed: int = 0
    """Comments among the rows."""
    wider: int = 0
    """Rows of more cells than the header."""

    def take(self, record: Record) -> None:
        """Use a record, reject it with the reason, or pass over what is no row.

        Raises:
            DataError: a quote is never closed and swallows lines.
        """
        head, names = self.head, self.head.names
        if record.blank:
            if self.options.blank_rows and len(names) == 1:
                self.rows.accept(record.first, {names[0]: ""})
            return
        if record.fault == UNCLOSED and record.last > record.first:
            rule = f"{UNCLOSED}: it swallows {record.last - record.first} more lines"
            remedy = 'close it; a quote inside a quoted cell is written twice ("")'
            raise DataError(Fault(rule, f"{self.rows.file}:{record.first}", remedy))
        misfit = head.misfit(record)
        if misfit and head.comments and record.comment:
            self.passed += 1
        elif reason := record.fault or misfit or flaw("".join(cell for cell in record.cells if isinstance(cell, str))):
            self.wider += len(record.cells) > len(names)
            self.rows.reject(record.first, reason + _extent(record))
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
        """Close the table.

        Raises:
            DataError: there are no rows, or most of them were rejected.
        """
        head = self.head
        told = [f"{count} {'row has' if count == 1 else 'rows have'} something in a column without a name: '{name}'"
                for name, count in self.strays.items()]  # fmt: skip
        told += [f"comments among the rows are passed over: {self.passed}"] if self.passed else []
        names = (*head.names[: head.named], *(name for name in head.names[head.named :] if self.strays[name]))
        names = tuple(dict.fromkeys([*names, *self.beside]))
        remedy = QUOTE if 2 * self.wider > self.rows.rejections else MEND
        return self.rows.table(names, format, encoding, [*notes, *head.notes, *told], remedy)


def fill(file: str, sample: Sequence[Record], options: Options, beside: Mapping[str, object] | None = None) -> Filling:
    """Begin a table whose first records are known.

    Raises:
        DataError: nothing stands there, or columns have the same name.
    """
    return Filling(find_head(file, sample, options.header), Collector(file), options, beside or {})


def find_head(file: str, sample: Sequence[Record], header: bool | None = None) -> Head:
    """Find the names of the columns among the first records.

    Args:
        file: as the user named it.
        sample: the first records, blank ones included.
        header: whether there is a header, if the user says so.

    Raises:
        DataError: nothing stands there, the header is damaged, or columns have the same name.
    """
    records = [record for record in sample if not record.blank and record.used]
    if not records:
        raise DataError(Fault("the file is empty", file, "give a file with rows to learn from"))
    at = 0 if header is False and not records[0].comment else _after_block(sample) or _header_at(records)
    found, before = records[at], records[:at]
    if header is None and not found.fault and looks_like_row(found, records[at + 1 :]):
        header = False
        if before and before[-1].comment and not _row_among(before[-1], records[at:]):
            found, header = _uncommented(before.pop()), None
    if header is False:
        return _nameless(records if not before or not _all_comments(before) else records[at:], at and before)
    return _named(file, found, before, records[at + 1 :])


def _nameless(records: Sequence[Record], before: Sequence[Record] | int) -> Head:
    """Name the columns of a table whose first line is a row by their places."""
    usable = [record for record in records if not record.fault] or records
    width, _ = Counter(len(record.cells) for record in usable).most_common(1)[0]
    names = tuple(f"column {number}" for number in range(1, width + 1))
    line = before[-1].last if isinstance(before, Sequence) and before else records[0].first - 1
    comments = bool(before)
    return Head(names, width, line, comments, (NAMELESS,))


def _named(file: str, header: Record, before: Sequence[Record], below: Sequence[Record]) -> Head:
    place = f"{file}:{header.first}"
    cells = [_text(cell) for cell in header.cells]
    named = header.used
    reason = header.fault or flaw("".join(cells))
    beyond = sum(record.used > named for record in below) * 2 > len(below)
    if not reason and sum(map(bool, cells)) * 2 < (len(cells) if beyond else named):
        reason = "most cells are empty"
    if not reason and any(len(cell) > LONGEST_NAME or "\n" in cell for cell in cells):
        reason = "a cell is a text"
    if reason:
        remedy = "write the columns' names into the first line, for example text,label; if it is a row: "
        raise DataError(
            Fault(f"the first line does not name the columns: {reason}", place, f"{remedy}`--set data.header=false`")
        )
    names = unique_columns([cell or f"column {number}" for number, cell in enumerate(cells, 1)], place)
    notes = [
        f"a column without a name is called '{name}'"
        for name, cell in zip(names[:named], cells, strict=False)
        if not cell
    ]
    if before:
        shown = _text(before[0].cells[0])[:SHOWN]
        notes.append(f"lines before the columns' names are passed over: {len(before)}, the first is '{shown}'")
    return Head(names, named, header.last, any(record.comment for record in before), tuple(notes))


# ── which line ────────────────────────────────────────────────────────────────────────────────


def _header_at(records: Sequence[Record]) -> int:
    """Find the first record that is neither a comment nor a title above the table."""
    at = 0
    while at < len(records) - 1 and at < MOST_BEFORE and records[at].comment:
        at += 1
    if any(len(record.cells) == len(records[at].cells) for record in records[:at]) and looks_like_row(
        records[at], records[at + 1 :]
    ):
        rows = [number for number, record in enumerate(records[:at]) if _row_among(record, records[at:])]
        if rows:  # what begins like a comment is a row like the others
            return rows[0]
    titles = at
    while titles < min(len(records) - 2, MOST_BEFORE) and _is_title(records[titles], records[titles + 1 :]):
        titles += 1
    found = records[titles]
    if titles > at and (looks_like_row(found, records[titles + 1 :]) or found.used < 2):
        return at
    return titles


def _after_block(sample: Sequence[Record]) -> int:
    """Count the records of a block of another width that a blank line parts from the table; 0 if there is none.

    Reports begin so: `Date:,2024-01-02`.
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
    """Return whether one cell alone stands above a table of several columns."""
    wide = [other for other in rest if other.used > 1]
    if record.fault or record.used > 1 or len(wide) < MOSTLY * len(rest):
        return False
    _, most = Counter(len(other.cells) for other in wide).most_common(1)[0] if wide else (0, 0)
    return most >= MOSTLY * len(wide) > 0


def _all_comments(records: Sequence[Record]) -> bool:
    return all(record.comment for record in records)


def _row_among(record: Record, rows: Sequence[Record]) -> bool:
    return len(record.cells) == len(rows[0].cells) and looks_like_row(record, rows)


def _uncommented(record: Record) -> Record:
    first, *others = record.cells
    return Record(record.first, record.last, [_text(first).lstrip(COMMENT + " "), *others], record.fault)


# ── a row, or names ───────────────────────────────────────────────────────────────────────────


def looks_like_row(record: Record, rows: Sequence[Record]) -> bool:
    """Return whether a line is surely a row like those below: a cell shows it, and none speaks against it."""
    below = [row.cells for row in rows if not row.fault and len(row.cells) == len(record.cells)]
    if not below:
        return False
    signs = [
        _sign(_text(cell), [text for row in below if (text := _text(row[at]))]) for at, cell in enumerate(record.cells)
    ]
    return min(signs) >= 0 and max(signs) > 0


def _sign(name: str, cells: Sequence[str]) -> int:
    """Return of one cell of a first line: 1 if it is like those below, -1 if it is a name, 0 if it may be both."""
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
    """Judge the first line of a column of texts: questions of a survey and short titles are names."""
    if name.endswith(("?", ":")):
        return 0
    if words >= WORDY and words >= min(average / 2, SURELY_WORDY):
        return 1
    return -1 if words < WORDY - 1 and name[-1].isalnum() else 0


def _shape(text: str) -> str:
    """Reduce a text to the kinds of its signs.

    >>> _shape("user_17"), _shape("2024-01-02 10:00")
    ('a_9', '9-9-9 9:9')
    """
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", text))


def _number(text: str) -> bool:
    return text.replace(",", ".", 1).replace(".", "", 1).removeprefix("-").isdecimal()


@cache
def _known() -> frozenset[str]:
    """Return the names by which tasks know their columns, as they are compared."""
    roles = [role for word in registry.names("tasks") for role in registry.choose("tasks", word).roles]
    return frozenset(same(name) for role in roles for name in (role.name, *role.spellings, *role.weak, *USUAL))


def _text(cell: object) -> str:
    return cell.strip("\ufeff \t\r\n") if isinstance(cell, str) else "" if cell is None else str(cell)


def _extent(record: Record) -> str:
    lines = record.last - record.first + 1
    return f" ({lines} lines were read as one row: is a quote not closed?)" if lines > 1 else ""
