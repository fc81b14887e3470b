"""Tables of rows in their order, with every row that could not be used and the reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TypeVar

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Message, Wording, msg
from kamerton.core.records import LedgerEntry, Place
from kamerton.data.rows import RowLog, Rows

NO_ROWS = msg("there are no rows in the file")
SHOWN = 5
"""Faults shown when most rows have one."""
MEND = msg("mend what is listed below, or check that the file is read as what it is")
MOST_NOTES = 20
"""Notes about the columns of several files."""
Word = TypeVar("Word", str, Wording)


@dataclass(frozen=True)
class Table:
    """The rows of one data file."""

    columns: tuple[str, ...]
    """Names in the order of their first appearance."""
    rows: Rows
    rejected: tuple[LedgerEntry, ...]
    """Rows that could not be read, each with its reason; with `rows` they are all that was read."""
    format: str
    encoding: str
    notes: tuple[Wording, ...]
    """What was assumed in reading, for the user to check: `read as cp1251`."""
    reshaped: bool = False
    """Whether the rows were made of what the file holds, so that they cannot be written back as it was written."""
    questions: tuple[str, ...] = ()
    """Columns that hold what annotators answered, each to a question of its own."""

    @property
    def rows_read(self) -> int:
        """How many rows the file has, used or rejected."""
        return len(self.rows) + len(self.rejected)

    @property
    def file(self) -> str:
        """The file, as the user named it."""
        return self.rows[0].place.file


@dataclass(frozen=True)
class Options:
    """What the user says of how a file is to be read, where it does not tell by itself."""

    header: bool | None = None
    """Whether the first line of a table names its columns; found from the lines if None."""
    sheet: str | None = None
    """Which sheet of a workbook is meant; the only one that holds a table if None."""
    blank_rows: bool = False
    """Whether a blank line is a row of a table of one column, an empty one; else it is passed over."""


FOUND = Options()


def joined(tables: Sequence[Table]) -> Table:
    """Concatenate tables; the ids of the rows are numbered on."""
    if len(tables) == 1:
        return tables[0]
    tables, renamed = _one_spelling(tables)
    files = len({file for table in tables for file in table.rows.files})
    starts = [0, *accumulate(table.rows_read for table in tables)][:-1]
    rejected = [
        replace(e, id=e.id + start) for table, start in zip(tables, starts, strict=True) for e in table.rejected
    ]
    notes = [msg("{files} files", files=files)] if files > 1 else []
    return Table(
        _distinct(table.columns for table in tables),
        Rows.joined([table.rows for table in tables], starts),
        tuple(rejected),
        ", ".join(_distinct([table.format] for table in tables)),
        ", ".join(_distinct([table.encoding] for table in tables)),
        (*notes, *renamed[:MOST_NOTES], *_distinct(table.notes for table in tables)),
        any(table.reshaped for table in tables),
        _distinct(table.questions for table in tables),
    )


def _distinct(lists: Iterable[Iterable[Word]]) -> tuple[Word, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(lists)))


def _one_spelling(tables: Sequence[Table]) -> tuple[Sequence[Table], list[Message]]:
    """Rename the columns of several files whose names differ in case or spaces only; return notes beside the tables."""
    largest = sorted(tables, key=lambda table: table.rows_read)
    known = {_folded(name): name for table in largest for name in reversed(table.columns)}
    notes, renamed = list[Message](), list[Table]()
    for table in tables:
        own, file = set(map(_folded, table.columns)), table.file
        missing = [name for name in largest[-1].columns if _folded(name) not in own]
        notes += [msg("{file} has no column '{name}'", file=file, name=name) for name in missing[:SHOWN]]
        names = _other_names(table, known)
        for old, new in names.items():
            notes.append(msg("column '{old}' of {file} is read as '{new}'", old=old, file=file, new=new))
        renamed.append(_renamed(table, names))
    return renamed, notes


def spelled_as(table: Table, columns: Iterable[str]) -> Table:
    """Rename columns as they are called elsewhere, where the names differ in case or spaces only."""
    return _renamed(table, _other_names(table, {_folded(name): name for name in columns}))


def _other_names(table: Table, known: Mapping[str, str]) -> dict[str, str]:
    names = {name: known.get(_folded(name), name) for name in table.columns}
    return {old: new for old, new in names.items() if old != new and new not in table.columns}


def _renamed(table: Table, names: Mapping[str, str]) -> Table:
    columns = tuple(names.get(name, name) for name in table.columns)
    return replace(table, columns=columns, rows=table.rows.renamed(names)) if names else table


def _folded(name: str) -> str:
    return " ".join(name.replace("\xa0", " ").casefold().split())


class Collector:
    """Numbers the rows of one file as they are read, accepted or rejected."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._rows = RowLog(file)
        self.rejected: list[LedgerEntry] = []

    @property
    def _next(self) -> int:
        return len(self._rows.ids) + len(self.rejected)

    def accept(self, line: int, values: Mapping[str, object]) -> None:
        """Add a row that begins on `line`."""
        self._rows.append(self._next, line, values)

    def reject(self, line: int, reason: Wording) -> None:
        """Record a row that cannot be used."""
        self.rejected.append(LedgerEntry(self._next, Place(self.file, line), "dropped", reason))

    def add(self, line: int, values: Mapping[str, object], reason: Wording) -> None:
        """Add a row, or reject it if there is a reason."""
        if reason:
            self.reject(line, reason)
        else:
            self.accept(line, values)

    def table(
        self, columns: Iterable[str], format: str, encoding: str, notes: Sequence[Wording], remedy: Wording = MEND
    ) -> Table:
        """Close the table; `remedy` helps where most rows cannot be used.

        Raises:
            DataError: there are no rows, or most of them were rejected.
        """
        if not self._next:
            raise DataError(Fault(NO_ROWS, self.file, msg("give a file with rows to learn from")))
        refuse_mostly_rejected(self.rejected, self._next, self.file, remedy)
        rows = Rows([self._rows], [0])
        return Table(tuple(columns), rows, tuple(self.rejected), format, encoding, tuple(notes))


def refuse_mostly_rejected(rejected: Sequence[LedgerEntry], read: int, file: str, remedy: Wording = MEND) -> None:
    """Go on only if at least half of the rows can be used: otherwise the file is misunderstood, not dirty.

    Raises:
        DataError: more than half of the rows are rejected; the first few faults are shown.
    """
    if 2 * len(rejected) <= read:
        return
    head = Fault(msg("{bad} of {rows} rows cannot be used", bad=len(rejected), rows=read), file, remedy)
    faults = [Fault(entry.reason, str(entry.place), msg("mend or delete the row")) for entry in rejected[:SHOWN]]
    raise DataError([head, *faults])


def unique_columns(names: Sequence[str], place: str) -> tuple[str, ...]:
    """Return the names if each occurs once.

    Raises:
        DataError: two columns have the same name.
    """
    remedy = msg("rename or remove one of them")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError([Fault(msg("two columns are named '{name}'", name=name), place, remedy) for name in repeated])
    return tuple(names)
