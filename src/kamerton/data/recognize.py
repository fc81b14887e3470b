"""Recognize a table: its task, and the column of each role.

What the user names holds. The other columns are found by the usual names of the roles, and each task checks
their values; if several readings are left, the user is asked.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from kamerton.core import registry
from kamerton.core.contracts import Role, Task
from kamerton.core.errors import DataError, Fault, nearest, reason_of
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.records import Example, LedgerEntry
from kamerton.data import cells, question
from kamerton.data.marks import Mark, explained, find_marks, refusal, without_verdicts
from kamerton.data.reading import Reading, fault_of, look, rows_of
from kamerton.data.rows import Examples
from kamerton.data.shapes_of_chats import lone_messages
from kamerton.data.spelling import called, spelled, spread, told_apart
from kamerton.data.table import Table, refuse_mostly_rejected
from kamerton.text.cells import filled, plain
from kamerton.text.label_values import bare_golds, find_placeholders, whole_number
from kamerton.text.printed import is_damaged
from kamerton.text.tags import read_list

WHOLE = msg("labels such as 1.0 are read as 1: pandas writes whole numbers so where some are missing")
LISTED = 6
SEEN_AGAIN, MOSTLY = 50, 0.9
"""Rows looked at, and the share of them, for a column that repeats others."""
GENERIC = frozenset((
    "label", "labels", "class", "category", "target", "number", "value", "gold_label", "y", "метка", "класс",
    "категория", "число", "значение",
))  # fmt: skip
"""Names by which a column is the answer, whatever the others are."""


@dataclass(frozen=True)
class Recognition:
    """The task and the columns of a table."""

    task: str
    columns: Mapping[str, str]
    """Role to column; a column `a.b` is the key `b` of the objects in column `a`."""
    reason: Wording
    settings: Mapping[str, object] = field(default_factory=dict)
    """What the values say of the task's settings."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """Columns by which people refused rows."""
    whole: bool = False
    """Whether labels such as `1.0` are read as whole numbers."""


@dataclass(frozen=True)
class Made:
    """Examples made of a table's rows, and the rows that the task could not make one of."""

    examples: Sequence[Example]
    rejected: tuple[LedgerEntry, ...]


def recognize(table: Table, task: str | None, columns: Mapping[str, str]) -> Recognition:
    """Return the task of a table and the columns of its roles.

    Raises:
        DataError: a named column or role does not exist; no task fits; or several do, as a question.
        RecipeError: there is no such task.
    """
    words = [task] if task else registry.names("tasks")
    tasks: dict[str, Task] = {word: registry.choose("tasks", word)() for word in words}
    _require_known(table, tasks, columns)
    if not task and not columns and (fault := lone_messages(table)):
        raise DataError(fault)
    columns = {role: cells.with_blanks(table, column) for role, column in columns.items()}
    known = [word for word, each in tasks.items() if columns.keys() <= {role.name for role in each.roles}]
    settled = task is not None or (bool(columns) and len(known) == 1)  # the roles that were named are of one task alone
    names = without_verdicts(table)
    readings, fitting = _readings(table, names, tasks, columns, settled=settled)
    if not fitting and (inner := cells.opened(table)) != table.columns:
        deeper, fitting = _readings(table, inner, tasks, columns, settled=settled)
        readings, names = (deeper, inner) if fitting else (readings, names)
    clear = [one for one in fitting if all(other is one or other.required < one.used for other in fitting)]
    if not fitting:
        raise DataError(question.nothing_fits(table, names, readings, settled=settled))
    if len(clear) != 1:
        whole = [one for one in fitting if len(one.required) > 1]  # a text alone is part of each of these
        asked = whole if len(whole) > 1 else fitting
        if not settled and all(one.weak for one in asked):
            asked = question.other_answers(table, asked, readings)
        raise DataError(question.several_fit(table, asked))
    [reading] = clear
    if reading.unclear or len(reading.ways) > 1:
        raise DataError(question.unclear(table, reading))
    left = cells.unused(table.columns, reading.columns)
    if not columns and (asked := _questions(table, tasks, reading)):
        raise DataError(question.several_fit(table, asked))
    marks = find_marks(table, left)
    left = [name for name in left if name not in marks]
    if more := _others_alike(table, reading, left, columns):
        raise DataError(question.one_of_several(table, reading, more))
    if not settled and reading.task.answers == "likelihood" and len(reading.required) == 1:
        _ask_beside(table, reading, readings, left)
    numbers = _are_whole(table, reading)
    notes = [*_joined(table, reading), *explained(marks), *([WHOLE] if numbers else []), *_unused(left)]
    reason = Joined((reading.reason, *notes))
    return Recognition(reading.word, reading.columns, reason, reading.settings, marks, numbers)


def _ask_beside(table: Table, reading: Reading, readings: Sequence[Reading], left: Sequence[str]) -> None:
    """Ask what a text column is for if something beside it may be a label."""
    shares = [name for name in left if cells.fractions(table, name) or cells.says_yes_or_no(table, name)]
    if len(shares) > 1 and any(cells.fractions(table, name) for name in shares):
        raise DataError(question.one_of_several(table, reading, shares))
    held = {name: what for name in left if (what := question.may_be_labels(name, cells.cells_of(table, name)))}
    if classes := question.labelled(table, list(held), readings):
        raise DataError(question.several_fit(table, [*classes, reading]))
    if held:
        raise DataError(question.beside(table, reading, held))


def _others_alike(table: Table, reading: Reading, left: Sequence[str], named: Mapping[str, str]) -> list[str]:
    """Return the columns with the same kind of answers, if the answer was chosen by its name alone."""
    role = reading.task.roles[-1].name
    column = reading.columns.get(role, "")
    if role in named or column.casefold() in GENERIC or reading.task.answers not in ("class", "number"):
        return []
    alike = cells.says_yes_or_no if reading.task.answers == "class" else cells.fractions
    others = [name for name in left if name.casefold() not in cells.BESIDE and alike(table, name)]
    return [column, *others] if others and alike(table, column) else []


def _are_whole(table: Table, reading: Reading) -> bool:
    """Return whether labels are whole numbers, some of which pandas wrote as `1.0`, since others were missing."""
    if reading.task.answers != "class":
        return False
    labels = {plain(cell).strip() for cell in cells.cells_of(table, reading.columns[reading.task.roles[-1].name])}
    labels -= find_placeholders(labels).none
    short = {label: whole_number(label) for label in labels}
    return bool(labels) and all(map(str.isdigit, short.values())) and len({*short.values()}) < len(labels)


def _joined(table: Table, reading: Reading) -> list[Message]:
    labels = cells.labels_with_columns(table, reading.required)
    never = ", ".join(cells.never_true(table, labels))
    notes = [msg("columns that are a label each: {columns}", columns=", ".join(labels))] if labels else []
    return [*notes, msg("never true in the first rows: {columns}", columns=never)] if labels and never else notes


def _questions(table: Table, tasks: Mapping[str, Task], reading: Reading) -> list[Reading]:
    """Return a reading for each question that annotators answered, if it is not clear which one is meant."""
    if len(table.questions) < 2 and reading.required & {*table.questions} == {*table.questions}:
        return []
    found = list[Reading]()
    for column in table.questions:
        names = [name for name in table.columns if name == column or name not in table.questions]
        readings, fitting = _readings(table, names, tasks, {}, settled=False)
        ways = chain(fitting, question.labelled(table, [column], readings), question.likely(table, names, readings))
        found += islice((one for one in ways if column in one.required), 1)
    if all(one.columns == reading.columns for one in found):
        return []
    return found if len(found) > 1 else [*found, reading]


def _unused(columns: Sequence[str]) -> list[Message]:
    listed, count = ", ".join(columns[:LISTED]), len(columns)
    if count > LISTED:
        return [msg("not used: {columns} … ({count} in all)", columns=listed, count=count)]
    return [msg("not used: {columns}", columns=listed)] if columns else []


def _readings(
    table: Table, names: Sequence[str], tasks: Mapping[str, Task], columns: Mapping[str, str], *, settled: bool
) -> tuple[list[Reading], list[Reading]]:
    """Return the readings of a table as every task, and those that fit."""
    readings = [
        _read_as(word, each, table, names, columns, settled=settled)
        for word, each in tasks.items()
        if columns.keys() <= {role.name for role in each.roles}
    ]
    unsure = [one for one in readings if not one.reason and not one.missing]
    doubtful = [one for one in unsure if one.spread or _is_possible(table, one)]
    fitting = [  # columns that look like more, but not quite, are not read as less in silence
        one for one in readings if one.reason and not any(_is_part(table, one, other) for other in doubtful)
    ]
    fitting = [one for one in fitting if not any(_repeats_another(table, one, other) for other in fitting)]
    lone = [one.required for one in fitting if one.task.answers != "likelihood" and len(one.required) == 1]
    answered = frozenset[str]().union(*lone)
    fitting = [one for one in fitting if not (one.task.answers == "likelihood" and one.required <= answered)]
    sure = [one for one in fitting if not one.weak]
    fitting = [one for one in fitting if not one.weak or all(other.required < one.parts for other in sure)]
    if fitting and all(one.weak for one in fitting):  # stars may be classes or measurements
        fitting += [other for other in doubtful if _measures(table, other, fitting)]
    return readings, fitting


def _is_possible(table: Table, reading: Reading) -> bool:
    """Return whether most rows fit a task, or a column that it needs holds lists most of which cannot be read."""
    rows = rows_of(table, reading.columns, SEEN_AGAIN)
    if 2 * sum(not fault_of(reading.task, row) for row in rows) > len(rows):
        return True
    rows = rows_of(table, {column: column for column in reading.required}, SEEN_AGAIN)
    return any(2 * sum(is_damaged(row[column]) for row in rows) > len(rows) for column in reading.required)


def _is_part(table: Table, reading: Reading, other: Reading) -> bool:
    """Return whether another reading needs further columns.

    Answers that repeat about a passage (BoolQ: yes, no) are labels, so a question with a passage need not be
    question answering.
    """
    if not reading.required < other.required:
        return False
    if reading.task.answers != "class" or not other.required <= reading.used:
        return True
    label = reading.columns[reading.task.roles[-1].name]
    return not (question.repeats(table, label) or cells.says_yes_or_no(table, label))


def _repeats_another(table: Table, one: Reading, other: Reading) -> bool:
    """Return whether a reading's only column repeats those of another one: Alpaca's `text`, a chosen chat."""
    if len(one.required) > 1 or len(other.required) < 2 or one.required < other.required:
        return False
    [column], again = one.required, list[bool]()
    for row in table.rows[:SEEN_AGAIN]:
        if filled(whole := cells.value_at(row.values, column)):
            parts = [cells.value_at(row.values, name) for name in other.required]
            again.append(
                whole in parts or (isinstance(whole, str) and all(plain(part).strip() in whole for part in parts))
            )
    return bool(again) and sum(again) >= MOSTLY * len(again)


def _measures(table: Table, reading: Reading, fitting: Sequence[Reading]) -> bool:
    """Return whether columns that fit another task hold numbers that this one takes."""
    if reading.task.answers != "number" or all(reading.required != other.required for other in fitting):
        return False
    rows = rows_of(table, reading.columns)
    if any(fault_of(reading.task, row) for row in rows):
        return False
    return len({plain(row[reading.task.roles[-1].name]) for row in rows} - {""}) > 2


def make_examples(table: Table, recognition: Recognition, task: Task, *, placeholders: str = "drop") -> Made:
    """Make an example of every row; those whose label is a placeholder are left out, or used like the others (`keep`).

    Raises:
        DataError: the task cannot make one of most rows.
    """
    examples, rejected, left_out = Examples(), list[LedgerEntry](), list[LedgerEntry]()
    label = task.roles[-1].name
    for row in table.rows:
        values = {role: cells.value_at(row.values, column) for role, column in recognition.columns.items()}
        if recognition.whole:
            values[label] = whole_number(plain(values[label]).strip())
        refusals = (role.name for role in task.roles if role.leaves_out and cells.truth(values.get(role.name)) is False)
        role = next(refusals, "")
        is_false = msg("'{column}' is false", column=recognition.columns[role]) if role else ""
        if reason := is_false or refusal(row.values, recognition.marks):
            left_out.append(LedgerEntry(row.id, row.place, "dropped", reason))
            continue
        try:
            examples.append(task.example(row.id, row.place, values))
        except ValueError as error:
            rejected.append(LedgerEntry(row.id, row.place, "dropped", reason_of(error)))
    refuse_mostly_rejected(rejected, len(table.rows), table.file)
    labelled, unlabelled = _labelled(examples, task) if placeholders == "drop" else (examples, [])
    return Made(labelled, (*rejected, *left_out, *unlabelled))


def _labelled(examples: Examples, task: Task) -> tuple[Examples, list[LedgerEntry]]:
    """Return the examples with a label, and an entry for each whose label is a placeholder."""
    kept, dropped = Examples(), list[LedgerEntry]()
    if task.answers not in ("class", "classes"):
        return examples, dropped
    labels = {gold: tuple(read_list(gold)) if task.answers == "classes" else (gold,) for gold in {*examples.golds}}
    bare = bare_golds(held for gold, held in labels.items() if gold)
    for example in examples if bare else ():
        if labels[example.gold] in bare:
            label = ", ".join(labels[example.gold])
            reason = msg("its label '{label}' is a placeholder: the row has no label", label=label)
            dropped.append(LedgerEntry(example.id, example.place, "dropped", reason))
        else:
            kept.append(example)
    return kept if bare else examples, dropped


def sample_rows(examples: Sequence[Example], max_rows: int | None, seed: int) -> Sequence[Example]:
    """Choose at most `max_rows` examples by a hash of seed and text, in their old order.

    More rows with the same seed hold all of the fewer.
    """
    if max_rows is None or len(examples) <= max_rows:
        return examples

    def rank(example: Example) -> tuple[bytes, int]:
        return hashlib.blake2b(f"sample {seed} {example.key}".encode(), digest_size=16).digest(), example.id

    return tuple(sorted(sorted(examples, key=rank)[:max_rows], key=lambda example: example.id))


def _require_known(table: Table, tasks: Mapping[str, Task], columns: Mapping[str, str]) -> None:
    roles, faults = {role.name for task in tasks.values() for role in task.roles}, list[Fault]()
    for role, column in columns.items():
        if role not in roles:
            rule = msg("there is no role '{role}'", role=role)
            faults.append(Fault(rule, f"{table.file} --columns {role}={column}", nearest(role, roles)))
    rows = [row.values for row in islice(table.rows, cells.LOOKED_AT)]
    for column in columns.values():
        seen = any(column in table.columns or cells.value_at(values, column) is not None for values in rows)
        if not (seen and cells.stand_in(column, table.columns)):
            rule = msg("there is no column '{column}'", column=column)
            faults.append(Fault(rule, table.file, nearest(column, table.columns)))
    for column, roles_of_it in sorted(Counter(columns.values()).items()):
        if roles_of_it > 1:
            rule = msg("the column '{column}' cannot play two roles", column=column)
            faults.append(Fault(rule, table.file, msg("name a column for each role")))
    if faults:
        raise DataError(faults)


def _read_as(
    word: str, task: Task, table: Table, names: Sequence[str], named: Mapping[str, str], *, settled: bool
) -> Reading:
    """Match roles with columns, and check the values by the task."""
    ways = told_apart(task.roles, names, named)
    given = {**named, **(ways[0] if ways else {})}
    columns, unclear, weak = dict[str, str](), dict[str, Sequence[str]](), False
    for role in task.roles:
        taken = {*columns.values(), *named.values(), *given.values()}
        free = [name for name in names if name not in taken and _may_play(table, name, role)]
        found = [given[role.name]] if role.name in given else spelled(role, free)
        if not found:
            found = called(role.weak, free)
            weak = weak or bool(found and role.required)
        if not found and task.answers == "classes" and role.required:
            refusing = find_marks(table, free)
            if yes_no := cells.flags(table, [name for name in free if name not in refusing]):
                found, weak = [yes_no], True
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
    if not reason and settled and any(not fault_of(task, row) for row in rows_of(table, columns)):
        reason = msg("as you said")
    return replace(reading, reason=_explained(reading, reason, named) if reason else "", settings=settings)


def _may_play(table: Table, column: str, role: Role) -> bool:
    if role.varied and len({plain(cell) for cell in cells.cells_of(table, column)}) < 2:
        return False
    return not role.leaves_out or cells.holds_truths(table, column)


def _explained(reading: Reading, reason: Wording, named: Mapping[str, str]) -> Wording:
    more = [
        msg("{role}={column}, as the columns stand", role=role, column=column)
        for way in reading.ways[:1]
        for role, column in [*way.items()][: 0 if named else 1]
    ]
    more += [
        msg("rows whose '{column}' is false are left out", column=reading.columns[role.name])
        for role in reading.task.roles
        if role.leaves_out and role.name in reading.columns
    ]
    return Joined((reason, *more)) if more else reason


def _otherwise(table: Table, names: Sequence[str], reading: Reading, named: Mapping[str, str]) -> Reading | None:
    """Try other columns whose names fit one role: the one with the role's own name may hold something else."""
    for role in reading.task.roles:
        taken = {*reading.columns.values()}
        free = [column for column in names if column not in taken] if role.name not in named else []
        for column in called(role.spellings, free):
            columns = {**reading.columns, role.name: column}
            reason, settings = look(reading.word, reading.task, table, columns)
            if reason:
                return replace(reading, columns=columns, unclear={}, ways=(), reason=reason, settings=settings)
    return None
