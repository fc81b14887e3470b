"""Format checks of answers: one rule per name, each a function of answer and value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

PUNCTUATION = ".!?…,;:\"'«»“”*` "


def keeps_format(check: str, value: str, answer: str) -> bool:
    """Return whether an answer keeps a rule.

    >>> keeps_format("words", "1", "Paris."), keeps_format("keys", "name,age", '{"name": "Ada"}')
    (True, False)
    """
    return CHECKS[check](answer.strip(), value)


def _lines(answer: str) -> list[str]:
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _words(answer: str, value: str) -> bool:
    return len(answer.split()) == int(value)


def _line_count(answer: str, value: str) -> bool:
    return len(_lines(answer)) == int(value)


def _bullets(answer: str, value: str) -> bool:
    return _line_count(answer, value) and all(line.startswith("-") for line in _lines(answer))


def _commas(answer: str, value: str) -> bool:
    parts = [part.strip() for part in answer.split(",")]
    return len(_lines(answer)) == 1 and len(parts) == int(value) and all(parts)


def _keys(answer: str, value: str) -> bool:
    try:
        parsed = json.loads(answer)
    except ValueError:
        return False
    return isinstance(parsed, dict) and set(parsed) == set(value.split(","))


def _starts(answer: str, value: str) -> bool:
    return answer.startswith(value)


def _ends(answer: str, value: str) -> bool:
    return answer.endswith(value)


def _contains(answer: str, value: str) -> bool:
    return value.casefold() in answer.casefold() and len(_lines(answer)) == 1


def _digits(answer: str, _value: str) -> bool:
    return answer.rstrip(".").isdecimal()


def _upper(answer: str, _value: str) -> bool:
    return answer.isupper()


def _lower(answer: str, _value: str) -> bool:
    return answer.islower()


def _choice(answer: str, value: str) -> bool:
    return answer.strip(PUNCTUATION).casefold() in value.split(",")


CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "words": _words,
    "lines": _line_count,
    "bullets": _bullets,
    "commas": _commas,
    "keys": _keys,
    "starts": _starts,
    "ends": _ends,
    "contains": _contains,
    "digits": _digits,
    "upper": _upper,
    "lower": _lower,
    "choice": _choice,
}
