"""A table read as one task: which columns would play its roles, and whether their values fit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kamerton.core import registry
from kamerton.core.contracts import Role, Task
from kamerton.core.errors import reason_of
from kamerton.core.files import shell_word
from kamerton.core.messages import Wording
from kamerton.core.records import Place, Row
from kamerton.data.cells import LOOKED_AT, TOGETHER, value_at
from kamerton.data.table import Table
from kamerton.text.cells import few

NEIGHBORS = 8
"""Neighbouring rows that are looked at, where rows are taken from all over a table."""
PLAIN = re.compile(r"[\w@%+=:,./-]+")
"""What a shell takes as it is."""


@dataclass(frozen=True)
class Reading:
    """A table read as one task."""

    word: str
    task: Task
    columns: Mapping[str, str]
    unclear: Mapping[str, Sequence[str]]
    """Roles that several columns could play."""
    ways: Sequence[Mapping[str, str]]
    """Columns of several roles at once, where there are several ways."""
    reason: Wording
    """Why it looks like the task; empty if it does not."""
    weak: bool = False
    """Whether a column was found only by a name that often means something else."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """What the values say of the task's settings."""

    @property
    def missing(self) -> list[Role]:
        """The roles that no column was found for."""
        return [role for role in self.task.roles if role.required and role.name not in self.columns]

    @property
    def required(self) -> set[str]:
        """The columns that the task needs."""
        return {self.columns[role.name] for role in self.task.roles if role.required and role.name in self.columns}

    @property
    def parts(self) -> set[str]:
        """The columns that the task needs, each of those that are read as one."""
        return {part for column in self.required for part in (column, *TOGETHER.split(column)) if part}

    @property
    def used(self) -> set[str]:
        """The columns that play a role, alone or with others."""
        return {*self.columns.values(), *(part for name in self.columns.values() for part in TOGETHER.split(name))}

    @property
    def spread(self) -> bool:
        """Whether a role is spread over several columns that are called so."""
        return any(role.series and "+" in self.columns.get(role.name, "") for role in self.task.roles)

    @property
    def flags(self) -> str:
        """The flags that ask for this reading."""
        return f"`--task {self.word} --columns {named(self.columns)}`"


def named(columns: Mapping[str, str]) -> str:
    """Write roles and columns as `--columns` takes them.

    >>> named({"text": "review", "label": "stars"}), named({"text": "Review Text"})
    ('text=review,label=stars', '"text=Review Text"')
    """
    pairs = ",".join(f"{role}={column}" for role, column in columns.items())
    return pairs if PLAIN.fullmatch(pairs) else shell_word(pairs)


def rows_of(table: Table, columns: Mapping[str, str], count: int = LOOKED_AT) -> list[dict[str, object]]:
    """Return the first rows' values by role."""
    return [_by_role(row, columns) for row in table.rows[:count]]


def _by_role(row: Row, columns: Mapping[str, str]) -> dict[str, object]:
    return {role: value_at(row.values, name) for role, name in columns.items()}


def fault_of(task: Task, values: Mapping[str, object]) -> Wording:
    """Return why a task cannot make an example of a row; an empty string if it can."""
    try:
        task.example(0, Place("", 0), values)
    except ValueError as error:
        return reason_of(error)
    return ""


def look(word: str, task: Task, table: Table, columns: Mapping[str, str]) -> tuple[Wording, Mapping[str, object]]:
    """Return why columns look right to a task, or an empty string, and the settings that most rows fit.

    A few rows that the task cannot use are ignored.
    """
    rows = rows_of(table, columns)
    find = next((role.settings for role in task.roles if role.settings and role.name in columns), None)
    settings: Sequence[Mapping[str, object]] = ()
    if find:  # what is rare may be missing from the first rows
        step = max(NEIGHBORS, (len(table.rows) - LOOKED_AT) * NEIGHBORS // LOOKED_AT)
        starts = range(LOOKED_AT, len(table.rows), step)
        later = [_by_role(row, columns) for start in starts for row in table.rows[start : start + NEIGHBORS]]
        settings = find([*rows, *later])
    tasks: list[Task] = [registry.choose("tasks", word)(**some) for some in settings] or [task]
    faults = [[bool(fault_of(one, row)) for row in rows] for one in tasks] if len(tasks) > 1 else [[]]
    best = min(range(len(tasks)), key=lambda at: sum(faults[at]))
    return _seen(tasks[best], rows), settings[best] if best or len(settings) == 1 else {}


def _seen(task: Task, rows: Sequence[Mapping[str, object]]) -> Wording:
    if not rows or (reason := _plausible(task, rows)):
        return reason if rows else ""
    usable = [row for row in rows if not fault_of(task, row)]
    bad = len(rows) - len(usable)
    return _plausible(task, usable) if bad and few(bad, len(rows)) else ""


def _plausible(task: Task, rows: Sequence[Mapping[str, object]]) -> Wording:
    return task.plausible({role: [row[role] for row in rows] for role in rows[0]})
