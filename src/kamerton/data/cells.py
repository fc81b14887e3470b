"""Values of a table's columns: also what stands within objects, and what several columns hold together."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from kamerton.data.table import Table
from kamerton.forms.values import filled, plain

LOOKED_AT = 1000
"""Rows whose values say what a table is for."""
TOGETHER = re.compile(r"[|+]")
"""What stands between the names of columns that are read as one."""
TRUE, FALSE = ("1", "true"), ("0", "false")


def value_at(values: Mapping[str, object], column: str) -> object:
    """Return a column's value.

    Where no column has that name, `a.b` reaches into objects, `a|b` names those columns of several that are true, and
    `a+b` holds what stands in several by their names.

    >>> value_at({"meta": {"stars": 5}}, "meta.stars"), value_at({"war": 1, "love": 0, "crime": 1}, "war|love|crime")
    (5, ['war', 'crime'])
    >>> value_at({"option1": "a stone", "option2": "a swift", "option3": ""}, "option1+option2+option3")
    {'option1': 'a stone', 'option2': 'a swift'}
    """
    if column in values:
        return values[column]
    if "+" in column:
        cells = {name: value_at(values, name) for name in column.split("+")}
        return {name: cell for name, cell in cells.items() if filled(cell)} or None
    if "|" in column:
        truths = {name: truth(values.get(name)) for name in column.split("|")}
        return None if None in truths.values() else [name for name, true in truths.items() if true]
    head, dot, rest = column.partition(".")
    inner = values.get(head)
    return value_at(inner, rest) if dot and isinstance(inner, Mapping) else None


def stand_in(column: str, names: Collection[str]) -> bool:
    """Say whether all that a column reads is there: itself, the object that it reaches into, each of several."""
    return column in names or all(part in names or part.partition(".")[0] in names for part in TOGETHER.split(column))


def unused(names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Name the columns that play no role.

    >>> unused(["id", "question", "A", "B", "meta"], {"question": "question", "options": "A+B", "answer": "meta.key"})
    ['id']
    """
    used = {*roles.values(), *(part for column in roles.values() for part in TOGETHER.split(column))}
    used |= {name.partition(".")[0] for name in used}
    return [name for name in names if name not in used]


def truth(value: object) -> bool | None:
    """Read a truth value, as numbers and words, too; None if it is none."""
    word = plain(value).strip().casefold()
    return word in TRUE if word in (*TRUE, *FALSE) else None


def opened(table: Table) -> tuple[str, ...]:
    """Name the keys of objects instead of the columns that hold them."""
    names = list[str]()
    for column in table.columns:
        cells = [cell for row in table.rows[:LOOKED_AT] if filled(cell := row.values.get(column))]
        keys = dict.fromkeys(key for cell in cells if isinstance(cell, Mapping) for key in cell)
        held = bool(keys) and all(isinstance(cell, Mapping) for cell in cells)
        names += [f"{column}.{key}" for key in keys] if held else [column]
    return tuple(names)


def cells_of(table: Table, column: str) -> list[object]:
    """Give what stands in a column of the first rows, where there is anything."""
    return [cell for row in table.rows[:LOOKED_AT] if filled(cell := value_at(row.values, column))]


def holds_truths(table: Table, column: str) -> bool:
    """Say whether a column holds truth values alone, no numbers."""
    words = {plain(cell).strip().casefold() for cell in cells_of(table, column)}
    return bool(words) and words <= {"true", "false"}


def flags(table: Table, columns: Sequence[str]) -> list[str]:
    """Find the columns that say yes or no, and both."""
    found = {column: {truth(cell) for cell in cells_of(table, column)} for column in columns}
    return [column for column, truths in found.items() if truths == {True, False}]
