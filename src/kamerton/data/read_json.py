"""Read JSON and JSON lines, each row with the line it stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kamerton.data.encoding import Source, flaw
from kamerton.data.parts import COLUMNS, part_named
from kamerton.data.table import Collector, Table, unique_columns
from kamerton.errors import DataError, Fault

TOO_DEEP = "nested too deeply"
DEEPEST = 64
"""Levels of nesting; far below where Python's own JSON gives up, which depends on who calls it."""
SPACE = re.compile(r"[ \t\n\r]*")
RECORDS = 'write one object a line: {"text": "...", "label": "..."} (pandas: to_json(orient="records", lines=True))'


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return values


def _constant(word: str) -> None:
    """Read NaN, which pandas writes for an empty cell, as empty."""
    if word != "NaN":
        raise ValueError(f"{word} is not a number that JSON knows")


STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
LENIENT = json.JSONDecoder(parse_int=str)
"""Finds the end of what the strict one refuses for its content."""


@dataclass(frozen=True)
class Element:
    """One value of an array: where it stands, and why it cannot be used, if so."""

    value: Any
    fault: str
    start: int
    end: int


@dataclass(frozen=True)
class Member:
    """One key of the outermost object; `elements` if its value is an array."""

    key: str
    elements: tuple[Element, ...] | None


# ── JSON lines ────────────────────────────────────────────────────────────────────────────────


def read_jsonl(source: Source) -> Table:
    """Read one object a line, or one text with its spans. A file that is one array after all is read as such.

    Raises:
        DataError: no rows, or mostly bad ones.

    """
    with source.open() as lines:
        first = next((line for line in lines if line.strip()), "")
    is_array = first.lstrip()[:1] == "[" and not _is_annotated(_parse_line(first).value)
    return read_json(source) if is_array else _read_lines(source)


def _read_lines(source: Source) -> Table:
    rows, columns = Collector(source.file), dict[str, None]()
    with source.open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                _collect(rows, columns, number, line, _parse_line(line))
    return rows.table(columns, "jsonl", source.encoding.name, source.notes)


def _parse_line(line: str) -> Element:
    try:
        return Element(STRICT.decode(line), "", 0, len(line))
    except json.JSONDecodeError as error:
        return Element(None, f"not JSON: {error.msg} at column {error.pos + 1}", 0, len(line))
    except ValueError as error:
        return Element(None, str(error), 0, len(line))
    except RecursionError:
        return Element(None, TOO_DEEP, 0, len(line))


def _collect(rows: Collector, columns: dict[str, None], line: int, text: str, element: Element) -> None:
    """Take one row, `text[element.start:element.end]`, or reject it."""
    value = element.value
    if _is_annotated(value):
        value = {"text": value[0], **value[1]}
    if reason := element.fault or _unusable(value, text[element.start : element.end]):
        rows.reject(line, reason)
    else:
        rows.accept(line, value)
        columns.update(dict.fromkeys(value))


def _is_annotated(value: object) -> bool:
    """Say whether a value is a text with its spans, as spaCy takes them: `["Anna sings", {"entities": []}]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], dict) and "entities" in value[1]


def _unusable(value: object, written: str) -> str:
    if not isinstance(value, dict):
        return "not an object with named values"
    if not value:
        return "an object without values"
    if _is_deep(value):
        return TOO_DEEP
    if reason := flaw(written):
        return reason
    if "\\u" in written:
        return next((reason for text in _strings(value) if (reason := flaw(text))), "")
    return ""


def _is_deep(value: dict[str, Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _strings(value: object) -> Iterator[str]:
    """Go through every text inside a value, keys included, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item


# ── one JSON document ─────────────────────────────────────────────────────────────────────────


def read_json(source: Source) -> Table:
    """Read an array of objects, an object that holds one such array or one for each part of the data, or columns.

    Columns are arrays of equal length. A file of JSON lines is read as that.

    Raises:
        DataError: not JSON (with line and column), none of these shapes, no rows, or mostly bad ones.

    """
    text = source.text()
    start = _skip(text, 0)
    try:
        if _expect(text, start, "[{") == "{":
            members, end = _members(text, start)
            if _skip(text, end) < len(text):
                return _read_lines(source)
            return _from_object(source, text, members)
        elements, end = _array(text, start)
        if _is_annotated([element.value for element in elements]):
            return _read_lines(source)
        if _skip(text, end) < len(text):
            raise json.JSONDecodeError("more text after the array", text, _skip(text, end))
    except json.JSONDecodeError as error:
        whole = error.pos >= len(text.rstrip()) - 1
        remedy = "the file ends too early: write it again" if whole else f"mend it there, or {RECORDS}"
        place = f"{source.file}:{error.lineno} column {error.colno}"
        raise DataError(Fault(f"this is not JSON: {error.msg}", place, remedy)) from None
    return _from_elements(source, text, elements, ())


def _from_object(source: Source, text: str, members: Sequence[Member]) -> Table:
    arrays = {member.key: member.elements for member in members if member.elements is not None}
    tables = [key for key, items in arrays.items() if items and isinstance(items[0].value, dict)]
    if len(tables) == 1:
        return _from_elements(source, text, arrays[tables[0]], (f"the rows are read from the key '{tables[0]}'",))
    if tables and all(map(part_named, tables)):
        parts = [_labelled(element, key) for key in tables for element in arrays[key]]
        return _from_elements(source, text, parts, (f"the rows are read from the keys {', '.join(tables)}",))
    if tables:
        rule = f"the file holds several arrays of rows: {', '.join(tables)}"
        raise DataError(Fault(rule, source.file, "keep one of them in a file of its own"))
    lengths = {key: len(items) for key, items in arrays.items()}
    if not arrays or len(arrays) < len({member.key for member in members}):
        raise DataError(Fault("the file holds no array of objects", source.file, RECORDS))
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(Fault(f"columns have different lengths: {counts}", source.file, RECORDS))
    return _from_columns(source, text, members)


def _labelled(element: Element, part: str) -> Element:
    """Write into a row which part of the data it stands in, unless it says so itself."""
    if not isinstance(element.value, dict) or not element.value:
        return element
    return replace(element, value={**element.value, COLUMNS[0]: element.value.get(COLUMNS[0], part)})


def _from_elements(source: Source, text: str, elements: Sequence[Element], notes: Sequence[str]) -> Table:
    rows, columns = Collector(source.file), dict[str, None]()
    line, seen = 1, 0
    for element in elements:
        line, seen = line + text.count("\n", seen, element.start), element.start
        _collect(rows, columns, line, text, element)
    return rows.table(columns, "json", source.encoding.name, [*source.notes, *notes])


def _from_columns(source: Source, text: str, members: Sequence[Member]) -> Table:
    names = unique_columns([member.key for member in members], source.file)
    rows = Collector(source.file)
    line, seen = 1, 0
    for elements in zip(*(member.elements or () for member in members), strict=True):
        line, seen = line + text.count("\n", seen, elements[0].start), elements[0].start
        values = dict(zip(names, (element.value for element in elements), strict=True))
        written = "".join(text[element.start : element.end] for element in elements)
        fault = next((element.fault for element in elements if element.fault), "")
        if reason := fault or _unusable(values, written):
            rows.reject(line, reason)
        else:
            rows.accept(line, values)
    return rows.table(names, "json", source.encoding.name, [*source.notes, "each key is read as a column"])


# ── a scanner that knows where it is ──────────────────────────────────────────────────────────


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, signs: str) -> str:
    sign = text[at : at + 1]
    if not sign or sign not in signs:
        raise json.JSONDecodeError(f"expecting {' or '.join(signs)}", text, at)
    return sign


def _value(text: str, at: int) -> Element:
    """Read one value; what is JSON but cannot be used becomes an element with a fault."""
    try:
        value, end = STRICT.raw_decode(text, at)
        return Element(value, "", at, end)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        _, end = LENIENT.raw_decode(text, at)
        return Element(None, str(error), at, end)
    except RecursionError:
        raise json.JSONDecodeError(TOO_DEEP, text, at) from None


def _array(text: str, at: int) -> tuple[list[Element], int]:
    _expect(text, at, "[")
    elements: list[Element] = []
    at = _skip(text, at + 1)
    if text.startswith("]", at):
        return elements, at + 1
    while True:
        elements.append(_value(text, at))
        at = _skip(text, elements[-1].end)
        if _expect(text, at, ",]") == "]":
            return elements, at + 1
        at = _skip(text, at + 1)


def _members(text: str, at: int) -> tuple[list[Member], int]:
    _expect(text, at, "{")
    members: list[Member] = []
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        return members, at + 1
    while True:
        _expect(text, at, '"')
        key = _value(text, at)
        at = _skip(text, key.end)
        _expect(text, at, ":")
        at = _skip(text, at + 1)
        if text.startswith("[", at):
            elements, at = _array(text, at)
            members.append(Member(key.value, tuple(elements)))
        else:
            at = _value(text, at).end
            members.append(Member(key.value, None))
        at = _skip(text, at)
        if _expect(text, at, ",}") == "}":
            return members, at + 1
        at = _skip(text, at + 1)
