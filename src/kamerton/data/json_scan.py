"""Scan JSON value by value, so that each row keeps its line, and say what is wrong where a text is not JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from kamerton.core.messages import Wording

SPACE = re.compile(r"[ \t\n\r]*")
TOO_DEEP = "nested too deeply"
PRINTED = "Python prints rows so: write them with json.dumps(row, ensure_ascii=False)"
MISTAKES = (
    (r",\s*\Z", r"[\]}]", "a comma stands before the closing bracket", "delete that comma"),
    (r"", r",\s*[\]}]", "a comma stands before the closing bracket", "delete that comma"),
    (r"", r"'", "single quotes, where JSON has double ones", PRINTED),
    (r"", r"(?:None|True|False)\b", "a word of Python, where JSON has null, true or false", PRINTED),
    (r"", r"//|/\*|#", "a comment; JSON has none", "delete the comments"),
    (r"", r"[“”„«»]", "curly quotes, where JSON has straight ones", 'write " around keys and texts'),
    (r"", r"-?(?:nan|inf|infinity|undefined)\b", "a word that JSON does not know", "write null for an empty value"),
    (r"[{,]\s*\Z", r"[^\W\d][\w$]*\s*:", "a key without quotes", 'write "key": before each value'),
    (r'[}\]"\w]\s*\Z', r'[{\["]', "a comma is missing before this value", "write it"),
)
"""What people and programs write instead of JSON: what stands before the place, what stands there, what it is, and how
it is mended."""
SEEN = 200
"""Characters looked at on both sides of a mistake."""


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
    fault: Wording
    start: int
    end: int


@dataclass(frozen=True)
class Member:
    """One key of an object; `elements` if its value is an array."""

    key: str
    value: Element
    """Without its content where it is an array: `elements` has that."""
    elements: tuple[Element, ...] | None


def mistake(text: str, error: json.JSONDecodeError) -> tuple[Wording, Wording]:
    """Return what is wrong where a text stops being JSON, and how it is mended; the remedy may be empty.

    >>> mistake("[1,]", json.JSONDecodeError("Expecting value", "[1,]", 3))
    ('a comma stands before the closing bracket', 'delete that comma')
    """
    before, after = text[max(0, error.pos - SEEN) : error.pos], text[error.pos : error.pos + SEEN]
    for earlier, here, what, remedy in MISTAKES:
        if re.search(earlier, before) and re.match(here, after, re.IGNORECASE if "nan" in here else 0):
            return what, remedy
    if error.msg.startswith("Invalid control") and after[:1] in "\r\n":
        return "a line ends within quotes", "write \\n for a line end in a text"
    if error.msg.startswith("Unterminated"):
        return "a text whose closing quote is missing", "close it, or write the file again if it ends there"
    if error.msg.startswith("Invalid \\"):
        return "a backslash that means nothing in JSON", "write a backslash twice: \\\\"
    return error.msg, ""


def skip(text: str, at: int) -> int:
    """Return the place of the next character that is not white space."""
    match = SPACE.match(text, at)
    return match.end() if match else at


def expect(text: str, at: int, signs: str) -> str:
    """Return the character at a place, which must be one of some.

    Raises:
        json.JSONDecodeError: it is another.
    """
    sign = text[at : at + 1]
    if not sign or sign not in signs:
        raise json.JSONDecodeError(f"expecting {' or '.join(signs)}", text, at)
    return sign


def value_from(text: str, at: int) -> Element:
    """Read one value; what is JSON but cannot be used becomes an element with a fault.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
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


def array_from(text: str, at: int) -> tuple[list[Element], int]:
    """Read an array's values, and return where it ends.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    expect(text, at, "[")
    elements: list[Element] = []
    at = skip(text, at + 1)
    if text.startswith("]", at):
        return elements, at + 1
    while True:
        elements.append(value_from(text, at))
        at = skip(text, elements[-1].end)
        if expect(text, at, ",]") == "]":
            return elements, at + 1
        at = skip(text, at + 1)


def members_from(text: str, at: int) -> tuple[list[Member], int]:
    """Read an object's keys and values, and return where it ends.

    Raises:
        json.JSONDecodeError: it is not JSON.
    """
    expect(text, at, "{")
    members: list[Member] = []
    at = skip(text, at + 1)
    if text.startswith("}", at):
        return members, at + 1
    while True:
        expect(text, at, '"')
        key = value_from(text, at)
        at = skip(text, key.end)
        expect(text, at, ":")
        at = skip(text, at + 1)
        if text.startswith("[", at):
            elements, end = array_from(text, at)
            members.append(Member(key.value, Element(None, "", at, end), tuple(elements)))
        else:
            value = value_from(text, at)
            members.append(Member(key.value, value, None))
            end = value.end
        at = skip(text, end)
        if expect(text, at, ",}") == "}":
            return members, at + 1
        at = skip(text, at + 1)
