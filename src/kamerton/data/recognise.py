"""Find out what a table is for: which task, and which column plays which of its roles.

What the user names holds. The rest is found by the roles' usual spellings and looked at by the
tasks themselves; where more than one reading is left, the user is asked and nothing is guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from kamerton import plugins
from kamerton.contracts import Task
from kamerton.data.beside import beside, may_be_labels
from kamerton.data.cells import LOOKED_AT, cells_of, flags, holds_truths, opened, stand_in, truth, unused, value_at
from kamerton.data.examples import Examples
from kamerton.data.marks import Mark, explained, find_marks, refusal
from kamerton.data.question import labelled, nothing_fits, several_fit, unclear
from kamerton.data.reading import Reading, fault_of, look, rows_of
from kamerton.data.spelling import called, spelled, spread, told_apart
from kamerton.data.table import Table, refuse_mostly_rejected
from kamerton.errors import DataError, Fault, nearest
from kamerton.forms.values import filled, plain
from kamerton.records import Example, LedgerEntry

LISTED = 6
"""Unused columns named in a message."""
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
    settings: Mapping[str, object] = field(default_factory=dict)
    """What the values say of the task's settings."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """Columns by which people refused rows."""


@dataclass(frozen=True)
class Made:
    """Examples made of a table's rows, and the rows that the task could not make one of."""

    examples: Sequence[Example]
    rejected: tuple[LedgerEntry, ...]


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
    names = table.columns
    readings, fitting = _readings(table, names, tasks, columns, told=task is not None)
    if not fitting and (inner := opened(table)) != table.columns:
        deeper, fitting = _readings(table, inner, tasks, columns, told=task is not None)
        readings, names = (deeper, inner) if fitting else (readings, names)
    clear = [one for one in fitting if all(other is one or other.required < one.used for other in fitting)]
    clear = clear if len(clear) == 1 else []
    if not fitting:
        raise DataError(nothing_fits(table, names, readings))
    if not clear:
        raise DataError(several_fit(table, fitting))
    [reading] = clear
    if reading.unclear or len(reading.ways) > 1:
        raise DataError(unclear(table, reading))
    left = unused(table.columns, reading.columns)
    marks = find_marks(table, left)
    if not task and reading.task.answers == "likelihood" and len(reading.required) == 1:
        _ask_beside(table, reading, readings, [name for name in left if name not in marks])
    reason = "; ".join([reading.reason, *explained(marks), *_unused([name for name in left if name not in marks])])
    return Recognition(reading.word, reading.columns, reason, reading.settings, marks)


def _ask_beside(table: Table, reading: Reading, readings: Sequence[Reading], left: Sequence[str]) -> None:
    """Take a text alone for plain text only where nothing beside it may be a label.

    Raises:
        DataError: something may be, as a question.
    """
    held = {name: what for name in left if (what := may_be_labels(name, cells_of(table, name)))}
    if classes := labelled(table, list(held), readings):
        raise DataError(several_fit(table, [*classes, reading]))
    if held:
        raise DataError(beside(table, reading, held))


def _unused(columns: Sequence[str]) -> list[str]:
    """Name the columns that play no role, if there are any."""
    more = f" … ({len(columns)} in all)" if len(columns) > LISTED else ""
    return [f"not used: {', '.join(columns[:LISTED])}{more}"] if columns else []


def _readings(
    table: Table, names: Sequence[str], tasks: Mapping[str, Task], columns: Mapping[str, str], *, told: bool
) -> tuple[list[Reading], list[Reading]]:
    """Read a table as every task; give all readings, and those between which it is to be chosen."""
    readings = [
        _read_as(word, each, table, names, columns, told=told)
        for word, each in tasks.items()
        if columns.keys() <= {role.name for role in each.roles}
    ]
    unsure = [one for one in readings if not one.reason and not one.missing]
    doubtful = [one for one in unsure if one.spread or _possible(table, one)]
    fitting = [
        reading
        for reading in readings  # columns that look like more, but not quite, are not read as less in silence
        if reading.reason and not any(reading.required < other.required for other in doubtful)
    ]
    fitting = [one for one in fitting if not any(_told_again(table, one, other) for other in fitting)]
    said = {
        column
        for one in fitting
        if one.task.answers != "likelihood" and len(one.required) == 1
        for column in one.required
    }
    fitting = [one for one in fitting if not (one.task.answers == "likelihood" and one.required <= said)]
    sure = [reading for reading in fitting if not reading.weak]
    fitting = [
        reading
        for reading in fitting
        if not (reading.weak and any(not other.required < reading.required for other in sure))
    ]
    if fitting and all(reading.weak for reading in fitting):  # stars may be classes or measurements
        fitting += [other for other in doubtful if _measures(table, other, fitting)]
    return readings, fitting


def _told_again(table: Table, one: Reading, other: Reading) -> bool:
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


def _possible(table: Table, reading: Reading) -> bool:
    """Say whether an example can be made of most rows."""
    rows = rows_of(table, reading.columns, SEEN_AGAIN)
    return 2 * sum(not fault_of(reading.task, row) for row in rows) > len(rows)


def _measures(table: Table, reading: Reading, fitting: Sequence[Reading]) -> bool:
    """Say whether columns that were read as something else hold the numbers that a task wants."""
    if reading.task.answers != "number" or all(reading.required != other.required for other in fitting):
        return False
    rows = rows_of(table, reading.columns)
    if any(fault_of(reading.task, row) for row in rows):
        return False
    return len({plain(row[reading.task.roles[-1].name]) for row in rows} - {""}) > 2


def make_examples(table: Table, recognition: Recognition, task: Task) -> Made:
    """Make an example of every row by the task that was recognised.

    Raises:
        DataError: the task cannot make one of most rows.

    """
    examples, rejected, left_out = Examples(), list[LedgerEntry](), list[LedgerEntry]()
    for row in table.rows:
        values = {role: value_at(row.values, column) for role, column in recognition.columns.items()}
        if reason := _refused(task, recognition, values) or refusal(row.values, recognition.marks):
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
) -> Reading:
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
        found = found or spread(role, free)
        if found:
            columns[role.name] = found[0]
        if len(found) > 1:
            unclear[role.name] = found
    reading = Reading(word, task, columns, unclear, ways, "", weak)
    if reading.missing:
        return reading
    reason, settings = look(word, task, table, columns)
    if not reason and (other := _otherwise(table, names, reading, named)):
        return other
    if not reason and told and reading.required <= set(named.values()):
        reason = "as you said"
    return replace(reading, reason=_explained(reading, reason, named) if reason else "", settings=settings)


def _explained(reading: Reading, reason: str, named: Mapping[str, str]) -> str:
    """Add to a reason what else was taken from the columns."""
    told = [f"{role}={column}, as the columns stand" for way in reading.ways[:1] for role, column in way.items()]
    told = told[:1] if not named else []
    told += [
        f"rows whose '{reading.columns[role.name]}' is false are left out"
        for role in reading.task.roles
        if role.leaves_out and role.name in reading.columns
    ]
    return "; ".join([reason, *told])


def _otherwise(table: Table, names: Sequence[str], reading: Reading, named: Mapping[str, str]) -> Reading | None:
    """Try other columns whose names fit one role: the one that has the role's own name may hold something else."""
    for role in reading.task.roles:
        taken = {column for name, column in reading.columns.items() if name != role.name}
        free = [column for column in names if column not in taken]
        others = [] if role.name in named else [c for c in called(role.spellings, free) if c not in taken]
        for column in others:
            columns = {**reading.columns, role.name: column}
            if column == reading.columns.get(role.name):
                continue
            reason, settings = look(reading.word, reading.task, table, columns)
            if reason:
                return replace(reading, columns=columns, unclear={}, ways=(), reason=reason, settings=settings)
    return None
