"""Read JSON and JSON lines, each row with the line it stands on."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kamerton.core.errors import DataError, Fault, reason_of
from kamerton.core.messages import Joined, Message, Wording, msg
from kamerton.core.readers import TOO_DEEP
from kamerton.data import json_scan
from kamerton.data.encoding import Source, flaw
from kamerton.data.json_scan import STRICT, Element, Member, mistake, skip
from kamerton.data.kinds import AGAIN
from kamerton.data.parts import COLUMNS, part_named
from kamerton.data.table import Collector, Table, unique_columns
from kamerton.forms.messages import are_messages

ERRORS = {"error", "errors", "fault", "exception", "ошибка"}
"""Keys of what servers answer instead of data."""
DEEPEST = 64
"""Levels of nesting; far below where Python's own JSON gives up, which depends on who calls it."""
RECORDS = msg("write one object a line: {example} (pandas: {call})", example='{"text": "...", "label": "..."}',
              call='to_json(orient="records", lines=True)')  # fmt: skip
NEXT = re.compile(r"\n(?=[{\[])")
"""Where a value begins after one that is not JSON."""
HEADS = ("features", "fields", "schema", "errors", "links", "columns")
"""Arrays of objects that describe the rows beside them."""
ANNOTATED = ("entities", "cats", "spans")
"""Keys of what stands beside a text in spaCy's pairs."""
INNERMOST = 4
"""How many objects deep an array of rows is looked for."""
KEY = "key"
"""The column for the keys of an object whose values are rows, where they are more than numbers."""


def read_jsonl(source: Source) -> Table:
    """Read one object a line, a text with its annotations, or a list of messages.

    A file that is one array after all, or whose objects go over several lines, is read as that.
    """
    first = next(filter(str.strip, source.lines()), "")
    if first.lstrip()[:1] not in ("{", "["):
        return _read_lines(source)
    parsed = _parse_line(first)
    is_row = isinstance(parsed.value, dict) or _is_annotated(parsed.value) or are_messages(parsed.value)
    return _read_lines(source) if is_row or (parsed.fault and not _goes_on(source, first)) else read_json(source)


def _goes_on(source: Source, first: str) -> bool:
    """Return whether the value that the first line begins ends on a later one, or the file is one array."""
    if first.lstrip().startswith("["):
        return True
    text = source.text()
    try:
        element = json_scan.value_from(text, skip(text, 0))
    except json.JSONDecodeError:
        return False
    after = first[len(first) - len(first.lstrip()) + element.end - element.start :]
    return "\n" in text[element.start : element.end] or after.lstrip()[:1] in (",", "{")


def _read_lines(source: Source) -> Table:
    rows, columns = Collector(source.file), dict[str, None]()
    for number, line in enumerate(source.lines(), 1):
        if line.strip():
            _collect(rows, columns, number, line, _parse_line(line))
    return rows.table(columns, "jsonl", source.encoding.label, source.notes)


def _parse_line(line: str) -> Element:
    try:
        return Element(STRICT.decode(line), "", 0, len(line))
    except json.JSONDecodeError as error:
        what, remedy = mistake(line, error)
        rule = msg("not JSON: {message} at column {column}", message=what, column=str(error.pos + 1))
        return Element(None, _with(rule, remedy), 0, len(line))
    except ValueError as error:
        return Element(None, reason_of(error), 0, len(line))
    except RecursionError:
        return Element(None, TOO_DEEP, 0, len(line))


def _with(rule: Message, remedy: Wording) -> Message:
    return msg("{rule}: {remedy}", rule=rule, remedy=remedy) if remedy else rule


def _collect(rows: Collector, columns: dict[str, None], line: int, text: str, element: Element) -> None:
    value = element.value
    if _is_annotated(value):
        value = {"text": value[0], **value[1]}
    elif are_messages(value):
        value = {"messages": value}
    if reason := element.fault or _unusable(value, text[element.start : element.end]):
        rows.reject(line, reason)
    else:
        rows.accept(line, value)
        columns.update(dict.fromkeys(value))


def _is_annotated(value: object) -> bool:
    """Return whether a value is a text with its annotations, as spaCy has them: `["Anna sings", {"entities": []}]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], dict) and any(key in value[1] for key in ANNOTATED)


def _unusable(value: object, written: str) -> Wording:
    if isinstance(value, list):
        return msg("not an object with named values, but a list, which does not name them")
    if not isinstance(value, dict):
        return msg("not an object with named values")
    if not value:
        return msg("an object without values")
    if _is_deep(value):
        return TOO_DEEP
    if reason := flaw(written):
        return reason
    if "\\u" in written:
        return next((reason for text in _strings(value) if (reason := flaw(text))), "")
    return ""


def _is_deep(value: dict[str, Any] | list[Any], left: int = DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(one, left - 1) for one in inner if isinstance(one, dict | list))


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item


def read_json(source: Source) -> Table:
    """Read an array of objects, an object that holds one, what pandas writes, or several values one after the other.

    An object may hold one array of rows, also within other objects, one for each part of the data, or columns: arrays
    of equal length. Of `DataFrame.to_json`, the orients records, split, index, columns and table are read; the orient
    values does not name its columns.
    """
    text = source.text()
    start = skip(text, 0)
    try:
        if json_scan.expect(text, start, "[{") == "{":
            members, end = json_scan.members_from(text, start)
            return _from_object(source, text, members) if skip(text, end) == len(text) else _several(source, text, end)
        elements, end = json_scan.array_from(text, start)
        values = [element.value for element in elements]
        if _is_annotated(values) or (skip(text, end) < len(text) and text.startswith("[", skip(text, end))):
            return _several(source, text, end)
        if skip(text, end) < len(text):
            raise json.JSONDecodeError("more text after the array", text, skip(text, end))
    except json.JSONDecodeError as error:
        raise DataError(_broken(source, text, error)) from None
    if are_messages(values):
        return _from_elements(source, text, [Element(values, "", start, end)])
    _require_named(source, next(iter(values), None))
    return _from_elements(source, text, elements)


def _broken(source: Source, text: str, error: json.JSONDecodeError) -> Fault:
    """Return where and why a document is not JSON, and how to mend it."""
    what, remedy = mistake(text, error)
    if not remedy and error.pos >= len(text.rstrip()) - 1:
        remedy = msg("the file ends too early: write it again")
    place = msg("{place} column {column}", place=f"{source.file}:{error.lineno}", column=str(error.colno))
    remedy = remedy or msg("mend it there, or {remedy}", remedy=RECORDS)
    return Fault(msg("this is not JSON: {message}", message=what), place, remedy)


def _require_named(source: Source, first: object) -> None:
    if isinstance(first, list) and not _is_annotated(first) and not are_messages(first):
        rule = msg("the rows are lists, which do not name their columns (pandas writes so with {option})",
                   option="orient='values'")  # fmt: skip
        raise DataError(Fault(rule, source.file, RECORDS))


def _several(source: Source, text: str, end: int) -> Table:
    """Read values that follow each other: one a line, or each over several lines."""
    start, ended = skip(text, 0), text.find("\n", end)
    alone = not text[end : ended if ended >= 0 else len(text)].strip()
    if "\n" not in text[start:end] and alone:
        _require_named(source, json_scan.value_from(text, start).value)
        return _read_lines(source)
    return _from_elements(source, text, list(_values(text)), msg("each value is a row, wherever lines end"))


def _values(text: str) -> Iterator[Element]:
    """Read values that follow each other, a comma between them or none; what is not JSON ends before the next one."""
    at = skip(text, 0)
    while at < len(text):
        try:
            element = json_scan.value_from(text, at)
        except json.JSONDecodeError as error:
            what, remedy = mistake(text, error)
            following = NEXT.search(text, at + 1)
            end = following.end() if following else len(text)
            rule = msg("not JSON: {message} at line {line} column {column}", message=what, line=str(error.lineno),
                       column=str(error.colno))  # fmt: skip
            element = Element(None, _with(rule, remedy), at, end)
        yield element
        at = skip(text, element.end)
        at = skip(text, at + 1) if text.startswith(",", at) else at


def _from_object(source: Source, text: str, members: Sequence[Member]) -> Table:
    arrays = {member.key: member.elements for member in members if member.elements is not None}
    if {"columns", "data"} <= arrays.keys() and (rows := _split(arrays["columns"], arrays["data"])):
        note = msg("the names of the columns stand in the key '{key}'", key="columns")
        return _from_elements(source, text, rows, note)
    conversations = [key for key, items in arrays.items() if are_messages([item.value for item in items])]
    if conversations == ["messages"] or len(conversations) > 1 == len(arrays) // len(conversations):
        return _from_conversations(source, text, members, conversations)
    if not arrays and (rows := _of_objects(text, members)):
        return _from_elements(source, text, rows, msg("each key is read as a row or a column, as pandas writes them"))
    tables = [key for key, items in arrays.items() if items and isinstance(items[0].value, dict)]
    tables = [key for key in tables if key not in HEADS] or tables
    if len(tables) > 1 and all(map(part_named, tables)):
        parts = [_labelled(element, key) for key in tables for element in arrays[key]]
        note = msg("the rows are read from the keys {keys}", keys=", ".join(tables))
        return _from_elements(source, text, parts, note)
    if len(tables) > 1:
        rule = msg("the file holds several arrays of rows: {keys}", keys=", ".join(tables))
        raise DataError(Fault(rule, source.file, msg("keep one of them in a file of its own")))
    found: list[tuple[str, Sequence[Element]]] = [(key, arrays[key]) for key in tables]
    found = found or list(_within(text, members, "", INNERMOST))
    if len(found) == 1:
        [(path, held)] = found
        return _from_elements(source, text, held, msg("the rows are read from the key '{key}'", key=path))
    return _from_columns(source, text, members, arrays)


def _split(names: Sequence[Element], rows: Sequence[Element]) -> list[Element]:
    """Return the rows of a table that pandas wrote with the orient split; nothing if it is not one."""
    columns = [str(name.value) for name in names]
    if not rows or not all(isinstance(row.value, list) and len(row.value) == len(columns) for row in rows):
        return []
    return [replace(row, value=dict(zip(columns, row.value, strict=True))) for row in rows]


def _of_objects(text: str, members: Sequence[Member]) -> list[Element]:
    """Read an object of objects: a row a key (orient index), or a column a key (orient columns); else nothing."""
    tables = [member.value for member in members]
    if len(members) < 2 or not all(isinstance(one, dict) and one for one in tables):
        return []
    outer, inner = [member.key for member in members], list(tables[0])
    shared = set(inner).intersection(*tables[1:])
    numbered = all(name.isdigit() for name in inner)
    if shared == set(inner) and (numbered or (len(inner) > len(outer) and not all(key.isdigit() for key in outer))):
        rows, _ = json_scan.members_from(text, members[0].start)
        columns = dict(zip(outer, tables, strict=True))
        return [replace(row, value={name: column.get(row.key) for name, column in columns.items()}) for row in rows]
    if not shared or numbered or any(isinstance(cell, dict) for cell in tables[0].values()):
        return []
    if all(key.isdigit() for key in outer):
        return list(members)
    return [replace(member, value={KEY: member.key, **member.value}) for member in members]


def _within(text: str, members: Sequence[Member], path: str, deep: int) -> Iterator[tuple[str, Sequence[Element]]]:
    """Yield the arrays of objects within objects, each with the keys that lead to it."""
    for member in members:
        if member.elements and all(isinstance(one.value, dict) for one in member.elements):
            yield f"{path}{member.key}", member.elements
        elif isinstance(member.value, dict) and deep:
            held, _ = json_scan.members_from(text, member.start)
            yield from _within(text, held, f"{path}{member.key}.", deep - 1)


def _from_conversations(source: Source, text: str, members: Sequence[Member], keys: Sequence[str]) -> Table:
    lists = {member.key: [one.value for one in member.elements or ()] for member in members if member.key in keys}
    if keys == ["messages"]:
        row = {member.key: lists.get(member.key, member.value) for member in members}
        return _from_elements(source, text, [Element(row, "", members[0].start, members[-1].end)])
    talks = [member for member in members if member.key in lists]
    rows = [replace(member, value={KEY: member.key, "messages": lists[member.key]}) for member in talks]
    return _from_elements(source, text, rows, msg("each key holds a conversation"))


def _labelled(element: Element, part: str) -> Element:
    if isinstance(element.value, dict) and element.value:
        return replace(element, value={**element.value, COLUMNS[0]: element.value.get(COLUMNS[0], part)})
    return element


def _from_elements(source: Source, text: str, elements: Sequence[Element], *notes: Wording) -> Table:
    rows, columns = Collector(source.file), dict[str, None]()
    for line, element in zip(_lines(text, elements), elements, strict=True):
        _collect(rows, columns, line, text, element)
    return rows.table(columns, "json", source.encoding.name, [*source.notes, *notes])


def _lines(text: str, elements: Sequence[Element]) -> Iterator[int]:
    """Yield the line of each element, or minus its number where all of several are on one line (see `Place`)."""
    if len(elements) > 1 and "\n" not in text[elements[0].start : elements[-1].start]:
        yield from range(-1, -len(elements) - 1, -1)
        return
    line, seen = 1, 0
    for element in elements:
        line, seen = line + text.count("\n", seen, element.start), element.start
        yield line


def _from_columns(
    source: Source, text: str, members: Sequence[Member], arrays: Mapping[str, Sequence[Element]]
) -> Table:
    """Read arrays of equal length, each of which is a column."""
    if not arrays and (keys := ERRORS & {member.key.casefold() for member in members}):
        rule = msg("this is a server's error message ('{key}'), not data", key=min(keys))
        raise DataError(Fault(rule, source.file, AGAIN))
    if not arrays or len(arrays) < len({member.key for member in members}):
        raise DataError(Fault(msg("the file holds no array of objects"), source.file, RECORDS))
    if len({len(items) for items in arrays.values()}) > 1:
        counts = Joined([msg("{column} {rows}", column=key, rows=len(items)) for key, items in arrays.items()], ", ")
        raise DataError(Fault(msg("columns have different lengths: {counts}", counts=counts), source.file, RECORDS))
    names = unique_columns([member.key for member in members], source.file)
    rows = Collector(source.file)
    whole = list(zip(*(member.elements or () for member in members), strict=True))
    for line, elements in zip(_lines(text, [elements[0] for elements in whole]), whole, strict=True):
        values = dict(zip(names, (element.value for element in elements), strict=True))
        written = "".join(text[element.start : element.end] for element in elements)
        fault = next((element.fault for element in elements if element.fault), "")
        rows.add(line, values, fault or _unusable(values, written))
    return rows.table(names, "json", source.encoding.label, [*source.notes, msg("each key is read as a column")])
