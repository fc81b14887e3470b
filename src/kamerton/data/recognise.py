"""Find out what a table is for: which task, and which column plays which of its roles.

What the user names holds. The rest is found by the roles' usual spellings and looked at by the
tasks themselves; where more than one reading is left, the user is asked and nothing is guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from kamerton import plugins
from kamerton.contracts import Role, Task
from kamerton.data.examples import Examples
from kamerton.data.table import Table, refuse_mostly_rejected
from kamerton.errors import DataError, Fault, nearest
from kamerton.records import Example, LedgerEntry

LOOKED_AT = 1000
"""Rows whose values a task sees to say whether they look like it."""
LISTED = 20
"""Columns named in a message."""


@dataclass(frozen=True)
class Recognition:
    """What a table was found to be."""

    task: str
    columns: Mapping[str, str]
    """Role to column; a column `a.b` is the key `b` of the objects in column `a`."""
    reason: str


@dataclass(frozen=True)
class Made:
    """Examples made of a table's rows, and the rows that the task could not make one of."""

    examples: Sequence[Example]
    rejected: tuple[LedgerEntry, ...]


@dataclass(frozen=True)
class _Reading:
    """A table read as one task."""

    word: str
    roles: Sequence[Role]
    columns: Mapping[str, str]
    unclear: Mapping[str, Sequence[str]]
    """Roles that several columns could play."""
    reason: str
    """Why it looks like the task; empty if it does not."""
    weak: bool = False
    """Whether a column was found only by a name that often means something else."""

    @property
    def missing(self) -> list[Role]:
        return [role for role in self.roles if role.required and role.name not in self.columns]

    @property
    def required(self) -> set[str]:
        return {self.columns[role.name] for role in self.roles if role.required and role.name in self.columns}

    @property
    def flags(self) -> str:
        """The flags that ask for this reading."""
        named = ",".join(f"{role}={column}" for role, column in self.columns.items())
        return f"`--task {self.word} --columns {named}`"


def recognise(table: Table, task: str | None, columns: Mapping[str, str]) -> Recognition:
    """Find the task and the columns of its roles.

    Args:
        table: as it was read.
        task: the user's word for the task, or None.
        columns: role to column, as far as the user named them.

    Raises:
        DataError: a named column or role does not exist; no task fits; or several do, as a question.
        RecipeError: there is no such task.

    """
    tasks: dict[str, Task] = {word: plugins.choose("tasks", word)() for word in ([task] if task else _words())}
    _require_known(table, tasks, columns)
    readings = [
        _read_as(word, each, table, columns, told=task is not None)
        for word, each in tasks.items()
        if columns.keys() <= {role.name for role in each.roles}
    ]
    doubtful = [reading for reading in readings if not reading.reason and not reading.missing]
    fitting = [
        reading
        for reading in readings  # columns that look like more, but not quite, are not read as less in silence
        if reading.reason and not any(reading.required < other.required for other in doubtful)
    ]
    sure = [reading for reading in fitting if not reading.weak]
    fitting = [
        reading
        for reading in fitting
        if not (reading.weak and any(not other.required < reading.required for other in sure))
    ]
    clear = [one for one in fitting if all(other is one or other.required < one.required for other in fitting)]
    if not fitting:
        raise DataError(_nothing_fits(table, readings))
    if not clear:
        raise DataError(_several_fit(table, fitting))
    [reading] = clear
    if reading.unclear:
        raise DataError(_unclear(table, reading))
    return Recognition(reading.word, reading.columns, reading.reason)


def make_examples(table: Table, recognition: Recognition, task: Task) -> Made:
    """Make an example of every row by the task that was recognised.

    Raises:
        DataError: the task cannot make one of most rows.

    """
    examples, rejected = Examples(), []
    for row in table.rows:
        values = {role: value_at(row.values, column) for role, column in recognition.columns.items()}
        try:
            examples.append(task.example(row.id, row.place, values))
        except ValueError as error:
            rejected.append(LedgerEntry(row.id, row.place, "dropped", str(error)))
    refuse_mostly_rejected(rejected, len(table.rows), table.file)
    return Made(examples, tuple(rejected))


def sample_rows(examples: Sequence[Example], max_rows: int | None, seed: int) -> Sequence[Example]:
    """Choose at most `max_rows` examples by a hash of seed and text, in their old order.

    More rows with the same seed hold all of the fewer.
    """
    if max_rows is None or len(examples) <= max_rows:
        return examples
    drawn = sorted(examples, key=lambda example: (_rank(example, seed), example.id))[:max_rows]
    return tuple(sorted(drawn, key=lambda example: example.id))


def value_at(values: Mapping[str, object], column: str) -> object:
    """Return a column's value; `a.b` reaches into objects where no column has that name.

    >>> value_at({"meta": {"stars": 5}}, "meta.stars")
    5
    """
    if column in values:
        return values[column]
    head, dot, rest = column.partition(".")
    inner = values.get(head)
    return value_at(inner, rest) if dot and isinstance(inner, Mapping) else None


def _words() -> list[str]:
    return plugins.names("tasks")


def _rank(example: Example, seed: int) -> bytes:
    return hashlib.blake2b(f"sample {seed} {example.key}".encode(), digest_size=16).digest()


def _same(word: str) -> str:
    """Reduce a name to what spellings are compared by."""
    return "".join(letter for letter in word.casefold() if letter not in "_- ")


def _require_known(table: Table, tasks: Mapping[str, Task], columns: Mapping[str, str]) -> None:
    roles = {role.name for task in tasks.values() for role in task.roles}
    faults = [
        Fault(f"there is no role '{role}'", f"{table.file} --columns {role}={column}", nearest(role, roles))
        for role, column in columns.items()
        if role not in roles
    ]
    faults += [
        Fault(f"there is no column '{column}'", table.file, nearest(column, table.columns))
        for column in columns.values()
        if not _exists(table, column)
    ]
    repeated = sorted({column for column in columns.values() if list(columns.values()).count(column) > 1})
    faults += [
        Fault(f"the column '{column}' cannot play two roles", table.file, "name a column for each role")
        for column in repeated
    ]
    if faults:
        raise DataError(faults)


def _exists(table: Table, column: str) -> bool:
    rows = islice(table.rows, LOOKED_AT)
    return column in table.columns or any(value_at(row.values, column) is not None for row in rows)


def _read_as(word: str, task: Task, table: Table, named: Mapping[str, str], *, told: bool) -> _Reading:
    """Match roles with columns and let the task look at the values."""
    columns, unclear, weak = dict[str, str](), dict[str, Sequence[str]](), False
    for role in task.roles:
        free = [column for column in table.columns if column not in {*columns.values(), *named.values()}]
        found = [named[role.name]] if role.name in named else _spelled(role, free)
        if not found:
            found = _called(role.weak, free)
            weak = weak or bool(found)
        if found:
            columns[role.name] = found[0]
        if len(found) > 1:
            unclear[role.name] = found
    reading = _Reading(word, task.roles, columns, unclear, "", weak)
    if reading.missing:
        return reading
    reason = _look(task, table, columns)
    if not reason and (other := _otherwise(task, table, reading, named)):
        return other
    if not reason and told and reading.required <= set(named.values()):
        reason = "as you said"
    return replace(reading, reason=reason)


def _look(task: Task, table: Table, columns: Mapping[str, str]) -> str:
    """Let the task look at the values of its columns."""
    rows = table.rows[:LOOKED_AT]
    return task.plausible({role: [value_at(row.values, column) for row in rows] for role, column in columns.items()})


def _otherwise(task: Task, table: Table, reading: _Reading, named: Mapping[str, str]) -> _Reading | None:
    """Try other columns whose names fit one role: the one that has the role's own name may hold something else."""
    for role in task.roles:
        taken = {column for name, column in reading.columns.items() if name != role.name}
        free = [column for column in table.columns if column not in taken]
        others = [] if role.name in named else [c for c in _called(role.spellings, free) if c not in taken]
        for column in others:
            columns = {**reading.columns, role.name: column}
            if column != reading.columns.get(role.name) and (reason := _look(task, table, columns)):
                return replace(reading, columns=columns, unclear={}, reason=reason)
    return None


def _spelled(role: Role, columns: Sequence[str]) -> list[str]:
    """Find the columns that a role's spellings name: the one that has the role's own name, else all others."""
    for own in (role.name, _same(role.name)):
        exact = [column for column in columns if column == own or _same(column) == own]
        if len(exact) == 1:
            return exact
    return _called(role.spellings, columns)


def _called(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Find the columns that have one of these names."""
    spellings = {_same(name) for name in names}
    return [column for column in columns if _same(column) in spellings]


def _several_fit(table: Table, readings: Sequence[_Reading]) -> Fault:
    fits = "; ".join(f"{reading.word}, because {reading.reason}" for reading in readings)
    return Fault(
        f"the columns fit several tasks: {fits}",
        table.file,
        f"which one is meant? {' or '.join(reading.flags for reading in readings)}",
    )


def _unclear(table: Table, reading: _Reading) -> list[Fault]:
    return [
        Fault(
            f"several columns could be the '{role}' of {reading.word}: {', '.join(columns)}",
            table.file,
            f"which one is meant? {' or '.join(f'`--columns {role}={column}`' for column in columns)}",
        )
        for role, columns in reading.unclear.items()
    ]


def _nothing_fits(table: Table, readings: Sequence[_Reading]) -> list[Fault]:
    more = f" and {len(table.columns) - LISTED} more" if len(table.columns) > LISTED else ""
    found = ", ".join(f"'{column}'" for column in table.columns[:LISTED]) + more
    words = " or ".join(reading.word for reading in readings) or "any one task"
    head = Fault(
        f"the columns {found} do not look like {words}",
        table.file,
        "name the task and its columns as shown below; the first line of a CSV file must name the columns",
    )
    return [head, *(_misfit(table, reading) for reading in readings)]


def _misfit(table: Table, reading: _Reading) -> Fault:
    needs = " and ".join(f"'{role.name}' ({role.meaning})" for role in reading.roles if role.required)
    if reading.missing:
        why = f"no column is named like {' or '.join(repr(role.name) for role in reading.missing)}"
    else:
        why = "the values of " + ", ".join(f"{role}={c}" for role, c in reading.columns.items()) + " do not look so"
    named = ",".join(
        f"{role.name}={reading.columns.get(role.name, 'COLUMN')}" for role in reading.roles if role.required
    )
    return Fault(f"{reading.word} needs {needs}, but {why}", table.file, f"`--task {reading.word} --columns {named}`")
