"""Which columns have the names that a role goes by."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, permutations, takewhile

from kamerton.core.contracts import Role

BETWEEN = re.compile(r"[\W_]+")
FOLDERS = re.compile(r"[.:]")
"""What stands before a column's own name: `translation.en`, `INPUT:text`."""
TEXT_KEYS = ("answer", "text", "content", "response", "output", "value", "message")
"""Keys under which objects hold a text."""
MOST_PAIRS = 6
SERIES = ("0123456789", "123456789", "abcdefghij", "абвгдежзик")
"""What the columns of a series are told apart by."""


def same(word: str) -> str:
    """Reduce a name to what spellings are compared by.

    >>> same("Review_Text"), same("INPUT:text"), same("translation.en")
    ('reviewtext', 'text', 'en')
    """
    own = FOLDERS.split(word)[-1] or word
    return "".join(letter for letter in own.casefold() if letter not in "_- ")


def spelled(role: Role, columns: Sequence[str]) -> list[str]:
    """Return the columns with a role's names: the one with the role's own name, else all others.

    Of no such column, the texts within objects that are called so count: `chosen.text`, `pos_answer.answer`.
    """
    for own in (role.name, same(role.name)):
        exact = [column for column in columns if column == own or same(column) == own]
        if role.name in exact:
            return [role.name]
        if len(exact) == 1:
            return exact
    parts = {column: column.rpartition(".") for column in columns}
    inner = [column for column, (outer, _, key) in parts.items() if outer and key in TEXT_KEYS]
    names = {same(name) for name in (role.name, *role.spellings)}
    return called(role.spellings, columns) or [column for column in inner if same(parts[column][0]) in names]


def called(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the columns that have one of these names."""
    spellings = {same(name) for name in names}
    return [column for column in columns if same(column) in spellings]


def spread(role: Role, columns: Sequence[str]) -> list[str]:
    """Return the columns that a role is spread over, joined: at least two, numbered or lettered without a gap.

    >>> spread(Role("options", (), "", series=("", "option")), ["id", "Option_1", "Option_2", "label"])
    ['Option_1+Option_2']
    >>> spread(Role("options", (), "", series=("", "option")), ["question", "A", "B", "C", "answer"])
    ['A+B+C']
    """
    found = {same(column): column for column in reversed(columns)}
    for word in role.series:
        for marks in SERIES[0 if word else 2 :]:
            named = list(takewhile(bool, (found.get(same(word) + mark) for mark in marks)))
            if len(named) > 1:
                return ["+".join(map(str, named))]
    return []


def told_apart(roles: Sequence[Role], columns: Sequence[str], named: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the ways to give roles the columns whose names differ only in one of the roles' `parts`, at most a few.

    The first column is the first role's, unless a role's column is named.

    >>> text = Role("text", (), "", parts=("en", "ru"))
    >>> told_apart([text, Role("other", (), "", parts=("en", "ru"))], ["en_long", "id", "ru_long"], {})
    [{'text': 'en_long', 'other': 'ru_long'}]
    """
    apart = [role for role in roles if role.parts]
    groups = defaultdict(list)
    for column in columns:
        words = [word for word in BETWEEN.split(column.casefold()) if word]
        rest = tuple(word for word in words if all(word not in role.parts for role in apart))
        if len(rest) < len(words):
            groups[rest].append(column)
    draw = permutations if named.keys() & {role.name for role in apart} else combinations
    names = [role.name for role in apart]
    drawings = (draw(group, len(apart)) for group in groups.values() if apart)
    ways = [dict(zip(names, some, strict=True)) for drawn in drawings for some in drawn]
    return [way for way in ways if all(way[role] == named.get(role, way[role]) for role in names)][:MOST_PAIRS]
