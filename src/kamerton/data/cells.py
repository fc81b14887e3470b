"""Values of a table's columns, of keys within objects, and of several columns read as one."""

import re
from collections.abc import Collection, Mapping, Sequence

from kamerton.data.table import Table
from kamerton.text.cells import filled, number_in, plain
from kamerton.text.printed import opened_text

LOOKED_AT = 1000
"""Rows whose values are looked at to find what a table is for."""
TOGETHER = re.compile(r"[|+]")
"""Separates the names of columns that are read as one."""
TRUE = frozenset(("1", "true", "1.0", "yes", "y", "t", "да", "д", "истина", "x", "х", "v", "+", "✓", "✔", "☑", "✅"))
FALSE = frozenset(("0", "false", "0.0", "no", "n", "f", "нет", "н", "ложь", "-", "✗", "✘", "☐", "❌"))
BESIDE = frozenset((
    "lang", "language", "source", "license", "split", "subset", "partition", "is_train", "is_test", "is_valid", "fold",
    "язык", "источник",
))  # fmt: skip
"""Names of columns that describe a text's origin or part, and are not labels."""
SEVERAL = 2
"""How many yes/no columns are taken for labels."""


def value_at(values: Mapping[str, object], column: str) -> object:
    """Return a column's value.

    If no column has that name, `a.b` reads a key of an object, `a|b` returns the names of the true ones among several
    columns (with a `|` at the end, an empty cell is false), and `a+b` the values of several columns by their names.

    >>> value_at({"meta": {"stars": 5}}, "meta.stars"), value_at({"war": 1, "love": 0, "crime": 1}, "war|love|crime")
    (5, ('war', 'crime'))
    >>> value_at({"war": "x", "love": ""}, "war|love"), value_at({"war": "x", "love": ""}, "war|love|")
    (None, ('war',))
    >>> value_at({"option1": "a stone", "option2": "a swift", "option3": ""}, "option1+option2+option3")
    {'option1': 'a stone', 'option2': 'a swift'}
    """
    if column in values:
        return values[column]
    if "+" in column:
        cells = {name: value_at(values, name) for name in column.split("+")}
        return {name: cell for name, cell in cells.items() if filled(cell)} or None
    if "|" in column:
        names, blank = _parts(column), False if column.endswith("|") else None
        truths = {name: truth(cell) if filled(cell := values.get(name)) else blank for name in names}
        return None if None in truths.values() else tuple(name for name, true in truths.items() if true)
    head, dot, rest = column.partition(".")
    inner = opened_text(values.get(head)) if dot else None
    return value_at(inner, rest) if isinstance(inner, Mapping) else None


def _parts(column: str) -> list[str]:
    return [part for part in TOGETHER.split(column) if part]


def stand_in(column: str, names: Collection[str]) -> bool:
    """Return whether a column exists: itself, the object that it reads a key of, or all of several."""
    return column in names or all(part in names or part.partition(".")[0] in names for part in _parts(column))


def unused(names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the columns without a role.

    >>> unused(["id", "question", "A", "B", "meta"], {"question": "question", "options": "A+B", "answer": "meta.key"})
    ['id']
    """
    used = {*roles.values(), *(part for column in roles.values() for part in _parts(column))}
    used |= {name.partition(".")[0] for name in used}
    return [name for name in names if name not in used]


def truth(value: object) -> bool | None:
    """Parse a truth value, written as a number or word, too; None if it is none."""
    word = plain(value).strip().casefold()
    return word in TRUE if word in TRUE or word in FALSE else None


def opened(table: Table) -> tuple[str, ...]:
    """Return the columns, each one of objects replaced by its keys: `meta.stars`."""
    names = list[str]()
    for column in table.columns:
        cells = [opened_text(cell) for row in table.rows[:LOOKED_AT] if filled(cell := row.values.get(column))]
        keys = dict.fromkeys(key for cell in cells if isinstance(cell, Mapping) for key in cell)
        objects = bool(keys) and all(isinstance(cell, Mapping) for cell in cells)
        names += [f"{column}.{key}" for key in keys] if objects else [column]
    return tuple(names)


def cells_of(table: Table, column: str) -> list[object]:
    """Return the values of a column in the first rows, empty ones left out."""
    return [cell for row in table.rows[:LOOKED_AT] if filled(cell := value_at(row.values, column))]


def holds_truths(table: Table, column: str) -> bool:
    """Return whether a column holds only `true` and `false`, no numbers."""
    words = {plain(cell).strip().casefold() for cell in cells_of(table, column)}
    return bool(words) and words <= {"true", "false"}


def says_yes_or_no(table: Table, column: str) -> bool:
    """Return whether a column holds only truth values, both of them."""
    return {truth(cell) for cell in cells_of(table, column)} == {True, False}


def flags(table: Table, columns: Sequence[str]) -> str:
    """Join the yes/no columns, each of which may be a label; an empty string if there are too few.

    Columns that hold both values count; beside them also those that are always false (rare labels), or, where there
    are none, columns with a mark or nothing.
    """
    free = [column for column in columns if column.casefold() not in BESIDE]
    truths = {column: {truth(cell) for cell in cells_of(table, column)} for column in free}
    both = [column for column in free if truths[column] == {True, False}]
    never = [column for column in free if truths[column] == {False}]
    if len(both) >= SEVERAL or (both and len(both) + len(never) > SEVERAL):
        return "|".join(column for column in free if column in both or column in never)
    rows = len(table.rows[:LOOKED_AT])
    marked = [column for column in free if truths[column] == {True} and len(cells_of(table, column)) < rows]
    return "|".join(marked) + "|" if len(marked) >= SEVERAL else ""


def with_blanks(table: Table, column: str) -> str:
    """Return the joined columns so that empty cells count as false, if no cell is false in any other way."""
    parts = _parts(column)
    if "|" not in column or column in table.columns or column.endswith("|"):
        return column
    no = any(truth(cell) is False for part in parts for cell in cells_of(table, part))
    return column if no else f"{column}|"


def labels_with_columns(table: Table, columns: Collection[str]) -> list[str]:
    """Return the columns that are labels by themselves."""
    return [part for name in columns if "|" in name and name not in table.columns for part in _parts(name)]


def never_true(table: Table, columns: Sequence[str]) -> list[str]:
    """Return the columns that are true in none of the rows that are looked at."""
    return [column for column in columns if not any(truth(cell) for cell in cells_of(table, column))]


def fractions(table: Table, column: str) -> bool:
    """Return whether a column holds numbers from 0 to 1, some of them strictly between."""
    try:
        numbers = {number_in(cell) for cell in cells_of(table, column)}
    except ValueError:
        return False
    return bool(numbers) and 0 <= min(numbers) <= max(numbers) <= 1 and not numbers <= {0.0, 1.0}
