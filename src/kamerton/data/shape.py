"""Rows that hold other rows: how a table of them is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    rows: Callable[[Values], Iterator[Values]]
    """What is read of a row; raises `Unusable` if it is not what the others are."""
    note: Wording
    questions: tuple[str, ...] = ()
    """Columns of the rows that annotators filled in, one of which is to be learned."""


def in_order(table: Table) -> Iterator[Row | LedgerEntry]:
    """Yield all rows in order, those that were rejected as their entries."""
    return merge(table.rows, table.rejected, key=attrgetter("id"))


def passed_on(table: Table, rows: Collector) -> Iterator[Row]:
    """Yield the rows of a table in order; rejected ones go straight to the new table."""
    for row in in_order(table):
        if isinstance(row, LedgerEntry):
            rows.reject(row.place.line, row.reason)
        else:
            yield row


def opened(table: Table, shape: Shape) -> Table:
    """Read the rows that a table's rows hold, each at its old place.

    Raises:
        DataError: most rows do not hold what the others do.
    """
    rows, columns = Collector(table.file), dict[str, None]()
    for row in passed_on(table, rows):
        try:
            held = list(shape.rows(row.values))
        except ValueError as error:
            rows.reject(row.place.line, reason_of(error))
            continue
        for values in held:
            rows.accept(row.place.line, values)
            columns.update(dict.fromkeys(values))
    notes = [*table.notes, *([shape.note] if shape.note else [])]
    made = rows.table(columns, table.format, table.encoding, notes)
    return replace(made, reshaped=True, questions=shape.questions)
