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
from kamerton.data.cells import LOOKED_AT, flags, holds_truths, opened, stand_in, truth, value_at
from kamerton.data.examples import Examples
from kamerton.data.spelling import called, spelled, told_apart
from kamerton.data.table import Table, refuse_mostly_rejected
from kamerton.errors import DataError, Fault, nearest
from kamerton.forms.values import filled, plain
from kamerton.records import Example, LedgerEntry, Place

LISTED = 20
"""Columns named in a message."""
SEEN_AGAIN, MOSTLY = 50, 0.9
"""Rows looked at, and the share of them, for a column that says again what others say."""
FLAGS = 3
"""Columns of truth values from which on they are taken for labels."""


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
    task: Task
    columns: Mapping[str, str]
    unclear: Mapping[str, Sequence[str]]
    """Roles that several columns could play."""
    ways: Sequence[Mapping[str, str]]
    """Columns of several roles at once, where there are several ways."""
    reason: str
    """Why it looks like the task; empty if it does not."""
    weak: bool = False
    """Whether a column was found only by a name that often means something else."""

    @property
    def missing(self) -> list[Role]:
        return [role for role in self.task.roles if role.required and role.name not in self.columns]

    @property
    def required(self) -> set[str]:
        return {self.columns[role.name] for role in self.task.roles if role.required and role.name in self.columns}

    @property
    def used(self) -> set[str]:
        return set(self.columns.values())

    @property
    def flags(self) -> str:
        """The flags that ask for this reading."""
        return f"`--task {self.word} --columns {_named(self.columns)}`"


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
    readings, fitting = _readings(table, table.columns, tasks, columns, told=task is not None)
    if not fitting and (inner := opened(table)) != table.columns:
        deeper, fitting = _readings(table, inner, tasks, columns, told=task is not None)
        readings = deeper if fitting else readings
    clear = [one for one in fitting if all(other is one or other.required < one.used for other in fitting)]
    clear = clear if len(clear) == 1 else []
    if not fitting:
        raise DataError(_nothing_fits(table, readings))
    if not clear:
        raise DataError(_several_fit(table, fitting))
    [reading] = clear
    if reading.unclear or len(reading.ways) > 1:
        raise DataError(_unclear(table, reading))
    return Recognition(reading.word, reading.columns, reading.reason)


def _readings(
    table: Table, names: Sequence[str], tasks: Mapping[str, Task], columns: Mapping[str, str], *, told: bool
) -> tuple[list[_Reading], list[_Reading]]:
    """Read a table as every task; give all readings, and those between which it is to be chosen."""
    readings = [
        _read_as(word, each, table, names, columns, told=told)
        for word, each in tasks.items()
        if columns.keys() <= {role.name for role in each.roles}
    ]
    doubtful = [one for one in readings if not one.reason and not one.missing and _possible(table, one)]
    fitting = [
        reading
        for reading in readings  # columns that look like more, but not quite, are not read as less in silence
        if reading.reason and not any(reading.required < other.required for other in doubtful)
    ]
    fitting = [one for one in fitting if not any(_told_again(table, one, other) for other in fitting)]
    sure = [reading for reading in fitting if not reading.weak]
    fitting = [
        reading
        for reading in fitting
        if not (reading.weak and any(not other.required < reading.required for other in sure))
    ]
    if fitting and all(reading.weak for reading in fitting):  # stars may be classes or measurements
        fitting += [other for other in doubtful if _measures(table, other, fitting)]
    return readings, fitting


def _told_again(table: Table, one: _Reading, other: _Reading) -> bool:
    """Say whether a reading's only column says again what stands in another's: Alpaca's `text`, a chosen chat."""
    if len(one.required) > 1 or len(other.required) < 2:
        return False
    [column] = one.required
    pairs = [
        (value_at(row.values, column), [value_at(row.values, name) for name in other.required])
        for row in table.rows[:SEEN_AGAIN]
    ]
    if column in other.required:
        return False
    again = [
        whole in parts or (isinstance(whole, str) and all(plain(part).strip() in whole for part in parts))
        for whole, parts in pairs
        if filled(whole)
    ]
    return bool(again) and sum(again) >= MOSTLY * len(again)


def _possible(table: Table, reading: _Reading) -> bool:
    """Say whether an example can be made of most rows."""
    rows = [{role: value_at(row.values, c) for role, c in reading.columns.items()} for row in table.rows[:SEEN_AGAIN]]
    made = 0
    for values in rows:
        try:
            made += bool(reading.task.example(0, Place("", 0), values))
        except ValueError:
            continue
    return 2 * made > len(rows)


def _measures(table: Table, reading: _Reading, fitting: Sequence[_Reading]) -> bool:
    """Say whether columns that were read as something else hold the numbers that a task wants."""
    if reading.task.answers != "number" or all(reading.required != other.required for other in fitting):
        return False
    values = [{role: value_at(row.values, c) for role, c in reading.columns.items()} for row in table.rows[:LOOKED_AT]]
    try:
        golds = {reading.task.example(0, Place("", 0), cells).gold for cells in values}
    except ValueError:
        return False
    return len(golds - {""}) > 2


def make_examples(table: Table, recognition: Recognition, task: Task) -> Made:
    """Make an example of every row by the task that was recognised.

    Raises:
        DataError: the task cannot make one of most rows.

    """
    examples, rejected, left_out = Examples(), list[LedgerEntry](), list[LedgerEntry]()
    for row in table.rows:
        values = {role: value_at(row.values, column) for role, column in recognition.columns.items()}
        if reason := _refused(task, recognition, values):
            left_out.append(LedgerEntry(row.id, row.place, "dropped", reason))
            continue
        try:
            examples.append(task.example(row.id, row.place, values))
        except ValueError as error:
            rejected.append(LedgerEntry(row.id, row.place, "dropped", str(error)))
    refuse_mostly_rejected(rejected, len(table.rows), table.file)
    return Made(examples, (*rejected, *left_out))


def _refused(task: Task, recognition: Recognition, values: Mapping[str, object]) -> str:
    """Say that people refused a row's answer, if its data say so."""
    roles = [role.name for role in task.roles if role.leaves_out and role.name in values]
    return next((f"'{recognition.columns[role]}' is false" for role in roles if truth(values[role]) is False), "")


def sample_rows(examples: Sequence[Example], max_rows: int | None, seed: int) -> Sequence[Example]:
    """Choose at most `max_rows` examples by a hash of seed and text, in their old order.

    More rows with the same seed hold all of the fewer.
    """
    if max_rows is None or len(examples) <= max_rows:
        return examples
    drawn = sorted(examples, key=lambda example: (_rank(example, seed), example.id))[:max_rows]
    return tuple(sorted(drawn, key=lambda example: example.id))


def _words() -> list[str]:
    return plugins.names("tasks")


def _rank(example: Example, seed: int) -> bytes:
    return hashlib.blake2b(f"sample {seed} {example.key}".encode(), digest_size=16).digest()


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
    return stand_in(column, table.columns) and any(
        column in table.columns or value_at(row.values, column) is not None for row in rows
    )


def _read_as(
    word: str, task: Task, table: Table, names: Sequence[str], named: Mapping[str, str], *, told: bool
) -> _Reading:
    """Match roles with columns and let the task look at the values."""
    ways = told_apart(task.roles, names, named)
    columns, unclear, weak = dict[str, str](), dict[str, Sequence[str]](), False
    for role in task.roles:
        taken = {*columns.values(), *named.values(), *(ways[0].values() if ways else ())}
        free = [name for name in names if name not in taken and (not role.leaves_out or holds_truths(table, name))]
        given = {**named, **(ways[0] if ways else {})}
        found = [given[role.name]] if role.name in given else spelled(role, free)
        if not found:
            found = called(role.weak, free)
            weak = weak or bool(found and role.required)
        if not found and task.answers == "classes" and role.required and len(yes_no := flags(table, free)) >= FLAGS:
            found = ["|".join(yes_no)]
        if found:
            columns[role.name] = found[0]
        if len(found) > 1:
            unclear[role.name] = found
    reading = _Reading(word, task, columns, unclear, ways, "", weak)
    if reading.missing:
        return reading
    reason = _look(task, table, columns)
    if not reason and (other := _otherwise(task, table, names, reading, named)):
        return other
    if not reason and told and reading.required <= set(named.values()):
        reason = "as you said"
    return replace(reading, reason=_explained(reading, reason, named) if reason else "")


def _explained(reading: _Reading, reason: str, named: Mapping[str, str]) -> str:
    """Add to a reason what else was taken from the columns."""
    told = [f"{role}={column}, as the columns stand" for way in reading.ways[:1] for role, column in way.items()]
    told = told[:1] if not named else []
    told += [
        f"rows whose '{reading.columns[role.name]}' is false are left out"
        for role in reading.task.roles
        if role.leaves_out and role.name in reading.columns
    ]
    return "; ".join([reason, *told])


def _look(task: Task, table: Table, columns: Mapping[str, str]) -> str:
    """Let the task look at the values of its columns."""
    rows = table.rows[:LOOKED_AT]
    return task.plausible({role: [value_at(row.values, column) for row in rows] for role, column in columns.items()})


def _otherwise(
    task: Task, table: Table, names: Sequence[str], reading: _Reading, named: Mapping[str, str]
) -> _Reading | None:
    """Try other columns whose names fit one role: the one that has the role's own name may hold something else."""
    for role in task.roles:
        taken = {column for name, column in reading.columns.items() if name != role.name}
        free = [column for column in names if column not in taken]
        others = [] if role.name in named else [c for c in called(role.spellings, free) if c not in taken]
        for column in others:
            columns = {**reading.columns, role.name: column}
            if column != reading.columns.get(role.name) and (reason := _look(task, table, columns)):
                return replace(reading, columns=columns, unclear={}, ways=(), reason=reason)
    return None


def _named(columns: Mapping[str, str]) -> str:
    return ",".join(f"{role}={column}" for role, column in columns.items())


def _several_fit(table: Table, readings: Sequence[_Reading]) -> Fault:
    whys = [reading.reason or "they hold numbers" for reading in readings]
    fits = "; ".join(f"{reading.word}, because {why}" for reading, why in zip(readings, whys, strict=True))
    return Fault(
        f"the columns fit several tasks: {fits}",
        table.file,
        f"which one is meant? {' or '.join(reading.flags for reading in readings)}",
    )


def _unclear(table: Table, reading: _Reading) -> list[Fault]:
    faults = [
        Fault(
            f"several columns could be the '{role}' of {reading.word}: {', '.join(columns)}",
            table.file,
            f"which one is meant? {' or '.join(f'`--columns {role}={column}`' for column in columns)}",
        )
        for role, columns in reading.unclear.items()
    ]
    if len(reading.ways) > 1:
        names = dict.fromkeys(column for way in reading.ways for column in way.values())
        rule = f"several pairs of columns could be what {reading.word} needs: {', '.join(names)}"
        remedy = f"which one is meant? {' or '.join(f'`--columns {_named(way)}`' for way in reading.ways)}"
        faults.append(Fault(rule, table.file, remedy))
    return faults


def _nothing_fits(table: Table, readings: Sequence[_Reading]) -> list[Fault]:
    """Ask: first what the columns nearly look like, then all other tasks."""
    more = f" and {len(table.columns) - LISTED} more" if len(table.columns) > LISTED else ""
    found = ", ".join(f"'{column}'" for column in table.columns[:LISTED]) + more
    near = [reading for reading in readings if not reading.missing]
    words = " or ".join(reading.word for reading in near or readings) or "any one task"
    surely = "surely look like" if near else "look like"
    head = Fault(
        f"the columns {found} do not {surely} {words}",
        table.file,
        "name the task and its columns as shown below; the first line of a CSV file must name the columns",
    )
    return [head, *(_misfit(table, reading) for reading in near or readings)]


def _misfit(table: Table, reading: _Reading) -> Fault:
    roles = reading.task.roles
    needs = " and ".join(f"'{role.name}' ({role.meaning})" for role in roles if role.required)
    held = ", ".join(f"{role}={column}" for role, column in reading.columns.items())
    if reading.missing:
        why = f", but no column is named like {' or '.join(repr(role.name) for role in reading.missing)}"
    elif reading.reason:
        why = f": {held} may be that ({reading.reason}), were there not more"
    else:
        why = f", but the values of {held} do not look so"
    named = {role.name: reading.columns.get(role.name, "COLUMN") for role in roles if role.required}
    rule = f"{reading.word} needs {needs}{why}"
    return Fault(rule, table.file, f"`--task {reading.word} --columns {_named(named)}`")
