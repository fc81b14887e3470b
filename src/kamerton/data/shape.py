"""Rows that hold other rows: how a table of them is opened."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import merge
from operator import attrgetter

from kamerton.core.errors import reason_of
from kamerton.core.messages import Wording
from kamerton.core.records import LedgerEntry, Row
from kamerton.data.table import Collector, Table

Values = Mapping[str, object]


@dataclass(frozen=True)
class Shape:
    """One way in which a row holds other rows."""

    columns: frozenset[str]
    """All of these are there."""
    holds: Callable[[Values], bool]
    """Whether a row shows that the columns mean what they seem to."""
    rows: Callable[[Values], Iterable[Values]]
    """What is read of a row; raises `Unusable` if it is not what the others are."""
    note: Wording
    questions: tuple[str, ...] = ()
    """Columns of the rows that annotators filled in, one of which is to be learned."""


def rest(values: Values, *used: str) -> dict[str, object]:
    """Return the cells of all other columns of a row."""
    return {name: cell for name, cell in values.items() if name not in used}


def in_order(table: Table) -> Iterator[Row | LedgerEntry]:
    """Yield all rows in order, those that were rejected as their entries."""
    return merge(table.rows, table.rejected, key=attrgetter("id"))


def passed_on(given: Iterable[Row | LedgerEntry], rows: Collector) -> Iterator[Row]:
    """Yield rows in order; rejected ones go straight to the new table."""
    for row in given:
        if isinstance(row, LedgerEntry):
            rows.reject(row.place.line, row.reason)
        else:
            yield row


def read_each(
    given: Iterable[Row | LedgerEntry], rows: Collector, read: Callable[[Values], Iterable[Values]]
) -> Iterable[str]:
    """Add what is read of each row to a new table, at its old place; return the columns."""
    columns = dict[str, None]()
    for row in passed_on(given, rows):
        try:
            held = list(read(row.values))
        except ValueError as error:
            rows.reject(row.place.line, reason_of(error))
            continue
        for values in held:
            rows.accept(row.place.line, values)
            columns.update(dict.fromkeys(values))
    return columns


def remade(table: Table, rows: Collector, columns: Iterable[str], note: Wording) -> Table:
    """Return the table of the rows that were made of another table's.

    Raises:
        DataError: there are no rows, or most were rejected.
    """
    notes = [*table.notes, *([note] if note else [])]
    return replace(rows.table(columns, table.format, table.encoding, notes), reshaped=True)


def opened(table: Table, shape: Shape) -> Table:
    """Read the rows that a table's rows hold, each at its old place.

    Raises:
        DataError: most rows do not hold what the others do.
    """
    rows = Collector(table.file)
    columns = read_each(in_order(table), rows, shape.rows)
    return replace(remade(table, rows, columns, shape.note), questions=shape.questions)
