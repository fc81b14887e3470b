"""What the user is asked where a table may be several things, or none: short, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations

from kamerton.core.errors import Fault
from kamerton.data.cells import cells_of
from kamerton.data.head import NAMELESS
from kamerton.data.reading import Reading, fault_of, has_answer, look, named, rows_of
from kamerton.data.table import Table
from kamerton.text.cells import plain

LISTED = 20
"""Columns named in a message."""
OFFERED = 3
"""Readings offered at once."""
TRIED, AT_ONCE = 6, 2
"""Columns tried by their values alone, and roles that they are tried for at once."""
FEW, REPEATED = 20, 4
"""Labels are at most so many, and each comes so many times on average."""
WORDY = 4
"""Words of a column's name from which on it is a text."""
TABLES = ("csv", "tsv", "sheet")
"""Formats whose first line names the columns."""
CLOSED = ("class", "classes", "number", "tags", "span")
"""Answers by whose values a task knows its own; free texts may be anything."""


def several_fit(table: Table, readings: Sequence[Reading]) -> Fault:
    """Ask which of several readings is meant."""
    whys = [reading.reason or "they hold numbers" for reading in readings]
    fits = "; ".join(f"{reading.word}, because {why}" for reading, why in zip(readings, whys, strict=True))
    return Fault(
        f"the columns fit several tasks: {fits}",
        table.file,
        f"which one is meant? {' or '.join(reading.flags for reading in readings)}",
    )


def unclear(table: Table, reading: Reading) -> list[Fault]:
    """Ask which of several columns plays a role."""
    faults = [
        Fault(
            f"several columns could be the '{role}' of {reading.word}: {', '.join(columns)}",
            table.file,
            f"which one is meant? {' or '.join(f'`--columns {named({role: column})}`' for column in columns)}",
        )
        for role, columns in reading.unclear.items()
    ]
    if len(reading.ways) > 1:
        names = dict.fromkeys(column for way in reading.ways for column in way.values())
        rule = f"several pairs of columns could be what {reading.word} needs: {', '.join(names)}"
        remedy = f"which one is meant? {' or '.join(f'`--columns {named(way)}`' for way in reading.ways)}"
        faults.append(Fault(rule, table.file, remedy))
    return faults


def one_of_several(table: Table, reading: Reading, columns: Sequence[str]) -> Fault:
    """Ask which of several columns with the same kind of values is the answer, or whether all of them are."""
    role, text = reading.task.roles[-1].name, reading.columns[reading.task.roles[0].name]
    listed = ", ".join(columns[:LISTED])
    one = " or ".join(f"`--columns {named({role: column})}`" for column in columns[:LISTED])
    if reading.task.answers == "class":
        every = f"`--task multi-label --columns {named({'text': text, 'labels': '|'.join(columns)})}` takes all of them"
        return Fault(
            f"{len(columns)} columns say yes or no, and each could be the '{role}': {listed}",
            table.file,
            f"which one is meant? {one}; {every}",
        )
    one = f"`--task regression --columns {named({'text': text, 'number': columns[0]})}` takes one of them"
    every = "to choose labels, write 1 where a share is 0.5 or more and 0 elsewhere, and name them like"
    flags = f"`--task multi-label --columns {named({'text': text, 'labels': '|'.join(columns)})}`"
    rule = f"{len(columns)} columns hold shares from 0 to 1, and each could be the answer: {listed}"
    return Fault(rule, table.file, f"{one}; {every} {flags}")


def nothing_fits(table: Table, names: Sequence[str], readings: Sequence[Reading], *, told: bool = False) -> list[Fault]:
    """Ask: what the columns nearly look like, else what their values may be."""
    if told and len(readings) == 1 and not readings[0].missing:
        return [_unreadable(table, readings[0])]
    more = f" and {len(table.columns) - LISTED} more" if len(table.columns) > LISTED else ""
    found = ", ".join(f"'{column}'" for column in table.columns[:LISTED]) + more
    near = sorted((one for one in readings if not one.missing), key=lambda one: _unusable(table, one)[0])
    near = [one for one in near if not (one.weak and _unusable(table, one)[0] == len(rows_of(table, one.columns)))]
    guessed = list(likely(table, names, readings)) if len(near) < OFFERED else []
    guessed = [one for one in guessed if one.task.answers in CLOSED] or ([] if near else guessed)
    shown = [*near, *guessed][:OFFERED] or [one for one in readings if len(readings) == 1]
    words = " or ".join(one.word for one in shown) or f"any task: {', '.join(one.word for one in readings)}"
    head = Fault(
        f"the columns {found} do not {'surely ' if near or guessed else ''}look like {words}",
        table.file,
        "name the task and its columns as shown below, or another: --task WORD --columns ROLE=COLUMN,ROLE=COLUMN",
    )
    return [head, *(_misfit(table, reading, guessed=reading in guessed) for reading in shown), *_about_header(table)]


def _unreadable(table: Table, reading: Reading) -> Fault:
    """Return that no row can be read as what the user named."""
    held = ", ".join(f"{role}={column}" for role, column in reading.columns.items())
    rows = rows_of(table, reading.columns)
    faults = [
        (row.place, fault)
        for row, values in zip(table.rows, rows, strict=False)
        if (fault := fault_of(reading.task, values))
    ]
    place, fault = faults[0] if faults else (table.file, "it has no rows")
    rule = f"no row can be read as {reading.word} with {held}, first {place}: {fault}"
    return Fault(rule, table.file, "mend the rows, or name other columns: --columns ROLE=COLUMN,ROLE=COLUMN")


def likely(table: Table, names: Sequence[str], readings: Sequence[Reading]) -> Iterator[Reading]:
    """Find what columns of unknown names may be by their values, tasks of closed answers first."""
    free = [name for name in names if len(cells := cells_of(table, name)) and not _counts(cells)]
    lengths = {name: sum(len(plain(cell)) for cell in cells_of(table, name)) for name in free}
    free = sorted(free, key=lambda name: -lengths[name])
    for one in sorted(readings, key=lambda one: (one.task.answers not in CLOSED, len(one.missing))):
        roles = [role.name for role in one.missing]
        others = [name for name in free if name not in one.used][:TRIED]
        for some in permutations(others, len(roles)) if 0 < len(roles) <= AT_ONCE else ():
            found = {**one.columns, **dict(zip(roles, some, strict=True))}
            columns = {role.name: found[role.name] for role in one.task.roles if role.name in found}
            reason, settings = look(one.word, one.task, table, columns)
            if reason:
                yield replace(one, columns=columns, reason=reason, settings=settings)
                break


def labelled(table: Table, names: Sequence[str], readings: Sequence[Reading]) -> list[Reading]:
    """Find readings by which a column of few values that repeat themselves would be the answer."""
    labels = [name for name in names if _repeats(table, name)]
    one_short = [one for one in readings if one.task.answers == "class" and len(one.missing) == 1 and not one.unclear]
    return list(likely(table, labels, one_short))


def _repeats(table: Table, column: str) -> bool:
    """Say whether a column holds few short values that come again and again."""
    cells = cells_of(table, column)
    if not all(isinstance(cell, str | bool) for cell in cells):
        return False
    distinct = len(set(cells))
    return 2 <= distinct <= FEW and distinct * REPEATED <= len(cells)


def _counts(cells: Sequence[object]) -> bool:
    """Say whether a column only numbers the rows, or says the same in all."""
    words = {plain(cell) for cell in cells}
    return (len(words) == len(cells) > 1 and all(word.isdigit() for word in words)) or len(words) == 1


def _about_header(table: Table) -> list[Fault]:
    """Return what was thought of the first line of a table, if it may be otherwise, and how to say so."""
    if NAMELESS in table.notes:
        return [Fault(NAMELESS, table.file, "if it names them: `--set data.header=true`")]
    if table.format not in TABLES or not any(_is_cell(name, cells_of(table, name)) for name in table.columns):
        return []
    rule = "the first line may be a row like the others, and not the columns' names"
    return [Fault(rule, f"{table.file}:1", "if it is a row: `--set data.header=false`")]


def _is_cell(name: str, cells: Sequence[object]) -> bool:
    """Say whether a column's name is rather one of its cells: the same, a number among numbers, a text among texts."""
    words = [plain(cell).strip() for cell in cells]
    lengths = [len(word.split()) for word in words]
    return (
        name in words
        or (_number(name) and all(map(_number, words)))
        or (len(name.split()) >= WORDY and 2 * sum(lengths) >= WORDY * len(words))
    )


def _number(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdigit()


def _misfit(table: Table, reading: Reading, *, guessed: bool) -> Fault:
    roles, remedy = reading.task.roles, ""
    needs = " and ".join(f"'{role.name}' ({role.meaning})" for role in roles if role.required)
    held = ", ".join(f"{role}={column}" for role, column in reading.columns.items())
    if reading.missing:
        why = f", but no column is named like {' or '.join(repr(role.name) for role in reading.missing)}"
    elif reading.reason and guessed:
        return Fault(f"{reading.word}, by their values: {held}; {reading.reason}", table.file, reading.flags)
    elif reading.reason:
        why = f": {held} may be that ({reading.reason}), were there not more"
    else:
        bad, first = _unusable(table, reading)
        why = f", but the values of {held} do not look so{first}"
        few = 0 < 2 * bad <= len(rows_of(table, reading.columns))
        remedy = "mend or delete these rows, or leave them out: " if few else ""
    columns = {role.name: reading.columns.get(role.name, "COLUMN") for role in roles if role.required}
    flags = f"`--task {reading.word} --columns {named(columns)}`"
    return Fault(f"{reading.word} needs {needs}{why}", table.file, remedy + flags)


def _unusable(table: Table, reading: Reading) -> tuple[int, str]:
    """Count the rows that a task cannot use, or that have no answer; and name the first one."""
    rows = rows_of(table, reading.columns)
    found = [(at, fault) for at, row in enumerate(rows) if (fault := fault_of(reading.task, row))]
    if not found:
        found = [(at, "it has no answer") for at, row in enumerate(rows) if not has_answer(reading.task, row)]
    if not found:
        return 0, ""
    at, fault = found[0]
    return len(found), f": {len(found)} of {len(rows)} rows cannot be used, first {table.rows[at].place}: {fault}"
