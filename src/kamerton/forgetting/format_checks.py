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


CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "words": lambda answer, value: len(answer.split()) == int(value),
    "lines": _line_count,
    "bullets": _bullets,
    "commas": _commas,
    "keys": _keys,
    "starts": str.startswith,
    "ends": str.endswith,
    "contains": lambda answer, value: value.casefold() in answer.casefold() and len(_lines(answer)) == 1,
    "digits": lambda answer, _: answer.rstrip(".").isdecimal(),
    "upper": lambda answer, _: answer.isupper(),
    "lower": lambda answer, _: answer.islower(),
    "choice": lambda answer, value: answer.strip(PUNCTUATION).casefold() in value.split(","),
}
