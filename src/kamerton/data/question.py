"""Questions to the user where a table may be several things, or none: short, the likeliest answer first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations

from kamerton.core.errors import Fault
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.records import Place
from kamerton.data.cells import BESIDE, cells_of, says_yes_or_no, unused
from kamerton.data.head import NAMELESS
from kamerton.data.parts import moment_of
from kamerton.data.reading import Reading, fault_of, look, named, rows_of
from kamerton.data.shapes_of_labels import LABELLED
from kamerton.data.spelling import same
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

LISTED = 20
"""Columns named in a message."""
OFFERED, MOST_OFFERED = 3, 6
"""Readings offered at once, and at most where several columns hold answers."""
TRIED, AT_ONCE = 6, 2
"""Columns tried by their values alone, and roles that they are tried for at once."""
FEW, REPEATED = 20, 4
"""Labels are at most so many, and each comes so many times on average."""
LETTERS, MOST_OPTIONS = "abcdefghij", 10
"""What names the right option, and how many options a question has at most."""
WORDY = 4
"""Words of a column's name from which on it is a text."""
TABLES = ("csv", "tsv", "sheet")
"""Formats whose first line names the columns."""
CLOSED = ("class", "classes", "number", "tags", "span")
"""Answers by whose values a task knows its own; free texts may be anything."""
OTHERWISE = "--task WORD --columns ROLE=COLUMN,ROLE=COLUMN"
ORIGIN = {
    same(name)
    for name in (
        *("lang", "language", "source", "license", "split", "subset", "partition", "язык", "источник", "часть"),
        *("id", "idx", "index", "uuid", "guid", "doc_id", "hash", "sha", "md5", "номер", "ид"),
        *("url", "link", "domain", "host", "path", "file", "file_name", "file_path", "repo", "repo_name", "ссылка"),
        *("date", "time", "timestamp", "created", "created_at", "added", "updated_at", "year", "дата", "год", "время"),
        *("version", "dump", "encoding", "charset", "dataset", "corpus", "config", "meta", "metadata", "корпус"),
        *("input_ids", "attention_mask", "token_type_ids", "token_count", "embedding", "embeddings", "vector"),
        *("pile_set_name", "warc", "digest", "title", "name", "author", "заголовок", "название", "автор"),
    )
}
"""Names of columns that describe a text and its origin, and are not labels."""
LONGEST_LABEL = 60
"""Most characters of a label."""
MANY = 16
"""Numbers in a list from which on it is an embedding or token ids."""
OBJECTS = msg("objects")


def several_fit(table: Table, readings: Sequence[Reading]) -> Fault:
    """Ask which of several readings is meant."""
    fits = [
        msg("{task} with {columns} ({why})", task=one.word, columns=_held(one), why=one.reason or msg("numbers"))
        for one in readings
    ]
    rule = msg("the columns fit several tasks: {fits}", fits=Joined(fits))
    return Fault(rule, table.file, _which([reading.flags for reading in readings]))


def _which(flags: Sequence[str]) -> Message:
    return msg("which one is meant? {flags}", flags=Joined(flags, " or "))


def _held(reading: Reading) -> str:
    return ", ".join(f"{role}={column}" for role, column in reading.columns.items())


def other_answers(table: Table, fitting: Sequence[Reading], readings: Sequence[Reading]) -> list[Reading]:
    """Return further readings of a table whose answer is in doubt: other columns of labels, other texts as answers."""
    first, found = fitting[0], list[Reading]()
    role, text = first.task.roles[-1].name, first.columns.get(first.task.roles[0].name, "")
    for name in unused(table.columns, first.columns) if first.task.answers == "class" else ():
        if name.casefold() not in BESIDE and (repeats(table, name) or says_yes_or_no(table, name)):
            found.append(replace(first, columns={**first.columns, role: name}))
    for one in readings:
        if len(one.missing) == 1 and one.task.answers == "text" and text and text not in one.used:
            found.append(replace(one, columns=_in_order(one, {**one.columns, one.missing[0].name: text})))
    seen = [(one, *look(one.word, one.task, table, one.columns)) for one in found]
    likely_ones = [replace(one, reason=reason, settings=settings) for one, reason, settings in seen if reason]
    return [*fitting, *likely_ones][:MOST_OFFERED]


def unclear(table: Table, reading: Reading) -> list[Fault]:
    """Ask which of several columns plays a role."""
    faults = []
    for role, columns in reading.unclear.items():
        rule = msg("several columns could be the '{role}' of {task}: {columns}", role=role, task=reading.word,
                   columns=", ".join(columns))  # fmt: skip
        faults.append(Fault(rule, table.file, _which([f"`--columns {named({role: column})}`" for column in columns])))
    if len(reading.ways) > 1:
        names = dict.fromkeys(column for way in reading.ways for column in way.values())
        rule = msg("several pairs of columns could be what {task} needs: {columns}", task=reading.word,
                   columns=", ".join(names))  # fmt: skip
        faults.append(Fault(rule, table.file, _which([f"`--columns {named(way)}`" for way in reading.ways])))
    return faults


def one_of_several(table: Table, reading: Reading, columns: Sequence[str]) -> Fault:
    """Ask which of several columns with the same kind of values is the answer, or whether all of them are."""
    role, text = reading.task.roles[-1].name, reading.columns[reading.task.roles[0].name]
    listed, count = ", ".join(columns[:LISTED]), len(columns)
    every = f"`--task multi-label --columns {named({'text': text, 'labels': '|'.join(columns)})}`"
    if reading.task.answers == "class":
        ways = Joined([f"`--columns {named({role: column})}`" for column in columns[:LISTED]], " or ")
        rule = msg("{count} columns say yes or no, and each could be the '{role}': {listed}", count=count, role=role,
                   listed=listed)  # fmt: skip
        return Fault(
            rule, table.file, msg("which one is meant? {one}; {every} takes all of them", one=ways, every=every)
        )
    rule = msg("{count} columns hold shares from 0 to 1, and each could be the answer: {listed}", count=count,
               listed=listed)  # fmt: skip
    one = f"`--task regression --columns {named({'text': text, 'number': columns[0]})}`"
    remedy = msg("{one} takes one of them; to choose labels, write 1 where a share is 0.5 or more and 0 elsewhere, and "
                 "name them like {every}", one=one, every=every)  # fmt: skip
    return Fault(rule, table.file, remedy)


def nothing_fits(
    table: Table, names: Sequence[str], readings: Sequence[Reading], *, settled: bool = False
) -> list[Fault]:
    """Ask which task is meant: what the columns nearly look like, else what their values may be."""
    if settled and len(readings) == 1 and not readings[0].missing:
        return [_unreadable(table, readings[0])]
    bad = {one.word: _bad_rows(table, one) for one in readings if not one.missing}
    looked_at = len(rows_of(table, {}))
    near = sorted((one for one in readings if not one.missing), key=lambda one: len(bad[one.word]))
    near = [one for one in near if not (one.weak and len(bad[one.word]) == looked_at)]
    guessed = list(likely(table, names, readings)) if len(near) < OFFERED else []
    guessed = [one for one in guessed if one.task.answers in CLOSED] or ([] if near else guessed)
    if chosen := _chosen_by_letter(table, names, readings):
        near, guessed = [], [chosen]
    if len(near) == 1 and not guessed and len(bad[near[0].word]) == looked_at:
        return [_unreadable(table, near[0])]
    shown = [*near, *guessed][:OFFERED] or (readings if len(readings) == 1 else [])
    words = Joined([one.word for one in shown], " or ")
    columns = Joined([f"'{column}'" for column in table.columns[:LISTED]], ", ")
    more = len(table.columns) - LISTED
    found = msg("{columns} and {more} more", columns=columns, more=more) if more > 0 else columns
    if near or guessed:
        rule = msg("the columns {columns} do not surely look like {tasks}", columns=found, tasks=words)
    elif shown:
        rule = msg("the columns {columns} do not look like {tasks}", columns=found, tasks=words)
    else:
        tasks = ", ".join(one.word for one in readings)
        rule = msg("the columns {columns} do not look like any task: {tasks}", columns=found, tasks=tasks)
    remedy = msg("name the task and its columns as shown below, or another: {flags}", flags=OTHERWISE)
    misfits = [_misfit(table, one, bad.get(one.word, ()), is_guess=one in guessed) for one in shown]
    return [Fault(rule, table.file, remedy), *misfits, *_about_header(table)]


def _unreadable(table: Table, reading: Reading) -> Fault:
    """Return that no row can be read as what the user named, or as the only thing that the columns look like."""
    bad = _bad_rows(table, reading)
    place, fault = bad[0] if bad else (table.file, msg("it has no rows"))
    rule = msg("no row can be read as {task} with {columns}, first {place}: {fault}", task=reading.word,
               columns=_held(reading), place=str(place), fault=fault)  # fmt: skip
    return Fault(rule, table.file, msg("mend the rows, or name other columns: {flags}", flags=OTHERWISE))


def likely(table: Table, names: Sequence[str], readings: Sequence[Reading]) -> Iterator[Reading]:
    """Yield what columns of unknown names may be by their values, tasks of closed answers first."""
    free = [name for name in names if len({*map(plain, cells := cells_of(table, name))}) > 1 and not _identifies(cells)]
    lengths = {name: sum(len(plain(cell)) for cell in cells_of(table, name)) for name in free}
    free = sorted(free, key=lambda name: -lengths[name])
    for one in sorted(readings, key=lambda one: (one.task.answers not in CLOSED, len(one.missing))):
        roles = [role.name for role in one.missing]
        if sum(role.to_learn for role in one.missing) > 1:  # which answer is the better one, no value says
            continue
        others = [name for name in free if name not in one.used][:TRIED]
        for some in permutations(others, len(roles)) if 0 < len(roles) <= AT_ONCE else ():
            columns = _in_order(one, {**one.columns, **dict(zip(roles, some, strict=True))})
            reason, settings = look(one.word, one.task, table, columns)
            if reason:
                yield replace(one, columns=columns, reason=reason, settings=settings)
                break


def _in_order(reading: Reading, columns: Mapping[str, str]) -> dict[str, str]:
    return {role.name: columns[role.name] for role in reading.task.roles if role.name in columns}


def _chosen_by_letter(table: Table, names: Sequence[str], readings: Sequence[Reading]) -> Reading | None:
    """Read columns of unknown names as a question, its options, and the letter or number of the right one."""
    one = next((one for one in readings if len(one.missing) > AT_ONCE and any(r.series for r in one.missing)), None)
    if one is None:
        return None
    free = [name for name in names if name not in one.used]
    for answer in free:
        words = {plain(cell).strip().casefold() for cell in cells_of(table, answer)}
        if len(words) < 2 or not (words <= {*LETTERS} or words <= {*map(str, range(MOST_OPTIONS))}):
            continue
        texts = [name for name in free[: free.index(answer)] if not _identifies(cells_of(table, name))]
        question = next((name for name in texts if not repeats(table, name)), None)
        options = texts[texts.index(question) + 1 :] if question else []
        if question and 1 < len(options) <= MOST_OPTIONS:
            given = [question, "+".join(options), answer]
            columns = _in_order(one, {**one.columns, **dict(zip((r.name for r in one.missing), given, strict=False))})
            reason, settings = look(one.word, one.task, table, columns)
            if reason:
                return replace(one, columns=columns, reason=reason, settings=settings)
    return None


def labelled(table: Table, names: Sequence[str], readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings by which a column of few values that repeat would be the answer."""
    labels = [name for name in names if repeats(table, name)]
    one_short = [one for one in readings if one.task.answers == "class" and len(one.missing) == 1 and not one.unclear]
    return list(likely(table, labels, one_short))


def repeats(table: Table, column: str) -> bool:
    """Return whether a column holds few short values, each several times."""
    cells = cells_of(table, column)
    distinct = len(set(cells)) if all(isinstance(cell, str | bool) for cell in cells) else 0
    return 2 <= distinct <= FEW and distinct * REPEATED <= len(cells)


def _identifies(cells: Sequence[object]) -> bool:
    """Return whether a column holds a number or a name of each row."""
    words = {plain(cell).strip() for cell in cells}
    single = all(any(map(str.isdigit, word)) and len(word.split()) == 1 for word in words)
    return len(words) == len(cells) > 1 and single


def _about_header(table: Table) -> list[Fault]:
    """Return what was assumed of the first line of a table, if it may be otherwise, and how to change it."""
    if NAMELESS in table.notes:
        return [Fault(NAMELESS, table.file, msg("if it names them: {flag}", flag="`--set data.header=true`"))]
    if table.format not in TABLES or not any(_is_cell(name, cells_of(table, name)) for name in table.columns):
        return []
    rule = msg("the first line may be a row like the others, and not the columns' names")
    return [Fault(rule, f"{table.file}:1", msg("if it is a row: {flag}", flag="`--set data.header=false`"))]


def _is_cell(name: str, cells: Sequence[object]) -> bool:
    """Return whether a column's name looks like one of its cells: equal, a number among numbers, a text among texts."""
    words = [plain(cell).strip() for cell in cells]
    lengths = [len(word.split()) for word in words]
    return (
        name in words
        or (_is_number(name) and all(map(_is_number, words)))
        or (len(name.split()) >= WORDY and 2 * sum(lengths) >= WORDY * len(words))
    )


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).removeprefix("-").isdigit()


def _misfit(table: Table, reading: Reading, bad: Sequence[tuple[Place, Wording]], *, is_guess: bool) -> Fault:
    if is_guess:
        rule = msg("{task}, by their values: {columns}; {why}", task=reading.word, columns=_held(reading),
                   why=reading.reason)  # fmt: skip
        return Fault(rule, table.file, reading.flags)
    required = [role for role in reading.task.roles if role.required]
    columns = {role.name: reading.columns.get(role.name, "COLUMN") for role in required}
    flags: str | Message = f"`--task {reading.word} --columns {named(columns)}`"
    needs = Joined([msg("'{role}' ({meaning})", role=role.name, meaning=role.meaning) for role in required], " and ")
    held: Message | Joined = msg("{task} needs {needs}", task=reading.word, needs=needs)
    rows = len(rows_of(table, reading.columns))
    if reading.missing:
        names = Joined([f"'{role.name}'" for role in reading.missing], " or ")
        rule = msg("{task}, but no column is named like {names}", task=held, names=names)
    elif reading.reason:
        rule = msg("{task}: {columns} would do ({why}), but another task needs more of the columns", task=held,
                   columns=_held(reading), why=reading.reason)  # fmt: skip
    elif bad:
        rule = msg("{task}, but {bad} of {rows} rows cannot be used with {columns}, first {place}: {fault}", task=held,
                   bad=len(bad), rows=rows, columns=_held(reading), place=str(bad[0][0]), fault=bad[0][1])  # fmt: skip
    else:
        rule = msg("{task}, but the values of {columns} do not look like that", task=held, columns=_held(reading))
    if not reading.reason and 0 < 2 * len(bad) <= rows:
        flags = msg("mend or delete these rows, or leave them out: {flags}", flags=flags)
    return Fault(rule, table.file, flags)


def _bad_rows(table: Table, reading: Reading) -> list[tuple[Place, Wording]]:
    rows = rows_of(table, reading.columns)
    found = [(at, fault) for at, row in enumerate(rows) if (fault := fault_of(reading.task, row))]
    if not found:
        examples = [reading.task.example(0, Place("", 0), row) for row in rows]
        found = [(at, msg("it has no answer")) for at, example in enumerate(examples) if not filled(example.gold)]
    return [(table.rows[at].place, fault) for at, fault in found]


def may_be_labels(name: str, cells: Sequence[object]) -> Wording:
    """Return what a column holds, if that may be labels of the text beside it; an empty string if not.

    >>> str(may_be_labels("is_urgent", [True, False] * 9)), may_be_labels("url", ["a", "b"] * 9)
    ('2 values that repeat', '')
    >>> str(may_be_labels("ratings", [{"taste": 1}, {"taste": 2}])), str(may_be_labels("spans", [[[0, 3]], []]))
    ('objects', 'lists')
    """
    inner = {same(str(key)) for cell in cells if isinstance(cell, Mapping) for key in cell}
    if not cells or (same(name) in ORIGIN and not inner & {same(name) for name in LABELLED}):
        return ""
    if any(isinstance(cell, Mapping) for cell in cells):
        return OBJECTS
    if lists := [cell for cell in cells if isinstance(cell, list) and cell]:
        long = all(len(cell) >= MANY and all(isinstance(one, int | float) for one in cell) for cell in lists)
        return "" if long else msg("lists")
    written = {plain(cell) for cell in cells}
    if len(written) < 2 or len(written) * REPEATED > len(cells) or max(map(len, written)) > LONGEST_LABEL:
        return ""
    dated = all(isinstance(cell, str) and moment_of(cell) is not None and not cell.isdigit() for cell in cells)
    return "" if dated else msg("{count} {count:value|values} that repeat", count=len(written))


def beside(table: Table, reading: Reading, held: Mapping[str, Wording]) -> list[Fault]:
    """Return the question whether a text is plain text although columns beside it may be labels."""
    [column] = reading.required
    named = Joined([msg("'{name}' ({what})", name=name, what=what) for name, what in held.items()], ", ")
    rule = msg("'{column}' looks like plain text, but these may be its labels: {named}", column=column, named=named)
    is_text = msg("if it is plain text: {flags}", flags=reading.flags)
    is_not = msg("if not, name the task and its columns: --task WORD --columns ROLE=COLUMN,ROLE=COLUMN")
    objects = [name for name, what in held.items() if what == OBJECTS][:1]
    remedies = [is_text, is_not, *(msg("a key of an object is named {name}.KEY", name=name) for name in objects)]
    return [Fault(rule, table.file, Joined(remedies))]
