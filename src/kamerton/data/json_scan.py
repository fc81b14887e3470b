"""Scan JSON value by value, so that each row keeps its line, and find what is wrong where a text is not JSON."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kamerton.core.errors import Unusable, reason_of
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.readers import TOO_DEEP, MalformedError

Item = TypeVar("Item", bound="Element")
SPACE = re.compile(r"[ \t\n\r]*")
COMMA, DELETE = msg("a comma stands before the closing bracket"), msg("delete that comma")
NULL = msg("write null for an empty value")
PRINTED = msg("Python prints rows this way: write them with json.dumps(row, ensure_ascii=False)")
MISTAKES = (
    (r",\s*\Z", r"[\]}]", COMMA, DELETE),
    (r"", r",\s*[\]}]", COMMA, DELETE),
    (r"", r"'", msg("single quotes, where JSON has double ones"), PRINTED),
    (r"", r"(?:None|True|False)\b", msg("a word of Python, where JSON has null, true or false"), PRINTED),
    (r"", r"//|/\*|#", msg("a comment; JSON has none"), msg("delete the comments")),
    (r"", r"[“”„«»]", msg("curly quotes, where JSON has straight ones"), msg('write " around keys and texts')),
    (r"", r"-?(?:nan|inf|infinity|undefined)\b", msg("a word that JSON does not have"), NULL),
    (r"[{,]\s*\Z", r"[^\W\d][\w$]*\s*:", msg("a key without quotes"), msg('write "key": before each value')),
    (r'[}\]"\w]\s*\Z', r'[{\["]', msg("a comma is missing before this value"), msg("add it")),
)
"""Frequent mistakes: patterns of the text before and after the place of the error, what it is, and the remedy."""
SEEN = 200
"""Characters looked at on both sides of a mistake."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Unusable(msg("the key '{key}' occurs twice", key=next(key for key in keys if keys.count(key) > 1)))
    return values


def _constant(word: str) -> None:
    """Read NaN, which pandas writes for an empty cell, as null."""
    if word != "NaN":
        raise Unusable(msg("{word} is not a number that JSON has", word=word))


STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
LENIENT = json.JSONDecoder(parse_int=str)
"""Finds the end of what the strict decoder refuses for its content."""


@dataclass(frozen=True)
class Element:
    """One value, its place in the text, and why it cannot be used, if so."""

    value: Any
    fault: Wording
    start: int
    end: int


@dataclass(frozen=True)
class Member(Element):
    """One key of an object with its value, None if that is an array: then it is in `elements`."""

    key: str
    elements: tuple[Element, ...] | None = None


def mistake(text: str, error: json.JSONDecodeError) -> tuple[Wording, Wording]:
    """Return what is wrong where a text stops being JSON, and the remedy, which may be empty.

    >>> [str(part) for part in mistake("[1,]", json.JSONDecodeError("Expecting value", "[1,]", 3))]
    ['a comma stands before the closing bracket', 'delete that comma']
    """
    before, after = text[max(0, error.pos - SEEN) : error.pos], text[error.pos : error.pos + SEEN]
    for earlier, here, what, remedy in MISTAKES:
        if re.search(earlier, before) and re.match(here, after, re.IGNORECASE if "nan" in here else 0):
            return what, remedy
    if error.msg.startswith("Invalid control") and after[:1] in "\r\n":
        return msg("a line ends within quotes"), msg("write \\n for a line end in a text")
    if error.msg.startswith("Unterminated"):
        return msg("a text whose closing quote is missing"), msg("add it, or write the file again if it ends there")
    if error.msg.startswith("Invalid \\"):
        return msg("a backslash that has no meaning in JSON"), msg("write a backslash twice: \\\\")
    return error.message if isinstance(error, MalformedError) else error.msg, ""


def skip(text: str, at: int) -> int:
    """Return the position of the next character that is not white space."""
    match = SPACE.match(text, at)
    return match.end() if match else at


def expect(text: str, at: int, signs: str) -> str:
    """Return the character at a position; raise `MalformedError` if it is none of `signs`."""
    sign = text[at : at + 1]
    if not sign or sign not in signs:
        raise MalformedError(msg("expecting {signs}", signs=Joined(list(signs), " or ")), text, at)
    return sign


def value_from(text: str, at: int) -> Element:
    """Parse one value; JSON that cannot be used becomes an element with a fault, other text a `JSONDecodeError`."""
    try:
        value, end = STRICT.raw_decode(text, at)
        return Element(value, "", at, end)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        _, end = LENIENT.raw_decode(text, at)
        return Element(None, reason_of(error), at, end)
    except RecursionError:
        raise MalformedError(TOO_DEEP, text, at) from None


def array_from(text: str, at: int) -> tuple[list[Element], int]:
    """Parse an array; return its values and its end. Raises `JSONDecodeError` if the text is not JSON."""
    return _items(text, at, "[]", value_from)


def members_from(text: str, at: int) -> tuple[list[Member], int]:
    """Parse an object; return its members and its end. Raises `JSONDecodeError` if the text is not JSON."""
    return _items(text, at, "{}", _member_from)


def _member_from(text: str, at: int) -> Member:
    expect(text, at, '"')
    key = value_from(text, at)
    at = skip(text, key.end)
    expect(text, at, ":")
    at = skip(text, at + 1)
    if text.startswith("[", at):
        elements, end = array_from(text, at)
        return Member(None, "", at, end, key.value, tuple(elements))
    value = value_from(text, at)
    return Member(value.value, value.fault, at, value.end, key.value)


def _items(text: str, at: int, brackets: str, item_from: Callable[[str, int], Item]) -> tuple[list[Item], int]:
    """Parse what stands between brackets with commas between; return it and its end."""
    closing = brackets[1]
    expect(text, at, brackets[0])
    items, at = list[Item](), skip(text, at + 1)
    if text.startswith(closing, at):
        return items, at + 1
    while True:
        items.append(item_from(text, at))
        at = skip(text, items[-1].end)
        if expect(text, at, f",{closing}") == closing:
            return items, at + 1
        at = skip(text, at + 1)
