"""Rows of several shapes in one table, as where two data sets were put into one file: made one shape, or refused.

Rows that hold the same thing under other names get the names of the task's roles; requests with answers become
conversations beside others. Rows that cannot be one task are refused, with how many rows are of each shape.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice

from kamerton.core import registry
from kamerton.core.contracts import Task
from kamerton.core.errors import DataError, Fault, Unusable
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Place
from kamerton.data.cells import LOOKED_AT, stand_in, value_at
from kamerton.data.recognize import recognize
from kamerton.data.shape import in_order, read_each
from kamerton.data.table import Collector, Table, joined
from kamerton.text.cells import filled

PROBED, TOGETHER = 40, 25
"""Places of a long table that are looked at beside its first rows, and rows at each."""
LEAST = 0.02
"""Share of the rows looked at from which on a shape is one."""
MOST = 6
"""Shapes beyond which columns are simply filled in now and then."""
OTHERS = msg("of none of these")
TURNS, SYSTEM = "messages", "system"
"""The role of conversations, and the one by which a task is known to be what an assistant is asked."""


@dataclass(frozen=True)
class RowKind:
    """Rows of one shape, read as a task."""

    word: str
    task: Task
    columns: Mapping[str, str]

    @property
    def needed(self) -> frozenset[str]:
        """The columns by which its rows are known."""
        return frozenset(self.columns[role.name] for role in self.task.roles if role.required)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.word} ({', '.join(sorted(self.needed))})"

    def holds(self, values: Mapping[str, object]) -> bool:
        """Return whether a row is of this shape."""
        return all(filled(value_at(values, column)) for column in self.needed)

    def by_role(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return a row's values by their roles."""
        return {role: value_at(values, column) for role, column in self.columns.items()}


def unified(table: Table, task: str | None, columns: Mapping[str, str]) -> Table:
    """Return a table whose rows are of one shape; the table as it is where they are, or where columns are named.

    Raises:
        DataError: the rows are of several shapes that cannot be one task, and no task is named.
    """
    if columns and all(stand_in(column, table.columns) for column in columns.values()):
        return table
    shapes = _shapes(table)
    if not 1 < len(shapes) <= MOST:
        return table
    kinds = [kind for names in shapes if (kind := _kind(table, names))]
    kinds = list({(kind.word, kind.needed): kind for kind in kinds}.values())
    if len(kinds) < 2:
        return table
    if len({kind.word for kind in kinds}) > 1 and not _are_talks(kinds, task):
        if task:
            return table
        raise DataError(_apart(table, kinds))
    return _rewritten(table, kinds)


def _shapes(table: Table) -> list[frozenset[str]]:
    """Return the sets of columns that are filled together, without those that are part of another."""
    step = max(1, len(table.rows) // PROBED)
    starts = range(LOOKED_AT, len(table.rows), step)
    rows = chain(table.rows[:LOOKED_AT], *(table.rows[start : start + TOGETHER] for start in starts))
    counts = Counter(frozenset(name for name, cell in row.values.items() if filled(cell)) for row in rows)
    common = [names for names, count in counts.items() if count >= LEAST * counts.total()]
    return [names for names in common if not any(names < other for other in common)]


def _kind(table: Table, names: frozenset[str]) -> RowKind | None:
    own = (row for row in table.rows if {name for name, cell in row.values.items() if filled(cell)} <= names)
    rows = Collector(table.file)
    for row in islice(own, LOOKED_AT):
        rows.accept(row.place.line, {name: row.values.get(name) for name in names})
    columns = [name for name in table.columns if name in names]
    try:
        found = recognize(rows.table(columns, table.format, table.encoding, ()), None, {})
    except DataError:
        return None
    return RowKind(found.task, registry.choose("tasks", found.task)(), found.columns)


def _are_talks(kinds: Sequence[RowKind], task: str | None) -> bool:
    """Return whether rows of all these shapes can be conversations and the task takes conversations."""
    takes = task is None or any(role.name == TURNS for role in registry.choose("tasks", task).roles)
    asked = (kind.task.answers == "text" and any(role.name == SYSTEM for role in kind.task.roles) for kind in kinds)
    return takes and all(asked)


def _rewritten(table: Table, kinds: Sequence[RowKind]) -> Table:
    """Rewrite all rows to one shape, their other columns after it: the roles of one task, or conversations."""
    talks, counts = len({kind.word for kind in kinds}) > 1, Counter[Wording]()

    def rewritten(values: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """Yield a row in the shape that all rows get."""
        kind = next((one for one in kinds if one.holds(values)), None)
        if kind is None:
            raise Unusable(msg("it has the columns of none of the shapes that the others have"))
        found = _talk(kind, values) if talks else kind.by_role(values)
        used = {*found, *(column.partition(".")[0] for column in kind.columns.values())}
        counts[kind.name] += 1
        yield {**found, **{name: cell for name, cell in values.items() if name not in used and filled(cell)}}

    parts = []
    for file, given in groupby(in_order(table), key=lambda row: row.place.file):
        rows = Collector(file)
        columns = read_each(given, rows, rewritten)
        parts.append(replace(rows.table(columns, table.format, table.encoding, ()), reshaped=True))
    whole, shown = joined(parts), _counted(counts)
    together = msg("rows of several shapes, read as conversations: {counts}", counts=shown)
    note = together if talks else msg("rows of several shapes, read alike: {counts}", counts=shown)
    return replace(whole, notes=(*table.notes, note), questions=table.questions)


def _talk(kind: RowKind, values: Mapping[str, object]) -> dict[str, object]:
    found = kind.by_role(values)
    if TURNS in found:
        return found
    example = kind.task.example(0, Place("", 0), found)
    turns = [{"role": "user", "content": example.text}, {"role": "assistant", "content": example.gold}]
    return {TURNS: turns, **{role: cell for role, cell in found.items() if role in (SYSTEM, "wanted")}}


def _apart(table: Table, kinds: Sequence[RowKind]) -> list[Fault]:
    counts = Counter[Wording](next((one.name for one in kinds if one.holds(row.values)), OTHERS) for row in table.rows)
    rule = msg("the rows are of several shapes, which are different tasks: {counts}", counts=_counted(counts))
    most = [kind.word for kind in kinds if 2 * counts[kind.name] >= len(table.rows)]
    if not most:
        return [Fault(rule, table.file, msg("put each into a file of its own"))]
    flag = f"`--task {most[0]}`"
    return [Fault(rule, table.file, msg("put each into a file of its own, or leave the others out: {flag}", flag=flag))]


def _counted(counts: Mapping[Wording, int]) -> Joined:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return Joined([msg("{shape} {count}", shape=shape, count=count) for shape, count in ordered], ", ")
