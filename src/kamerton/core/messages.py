"""What a reader gets: a template and its values, kept apart until a face renders them in the reader's language.

A template is English: `{name}` stands for a value, `{rows:row|rows}` for the form of a word that agrees with a count.
Catalogues of other languages (`i18n`) translate templates, never finished sentences.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from kamerton.core.figures import ENGLISH_SYMBOLS, Figure, Style, Symbols, number

HOLE = re.compile(r"\{(\w++)(?::([^{}]*))?\}")
"""A value, or the form of a word that agrees with a count."""


@dataclass(frozen=True)
class Message:
    """A sentence, or a part of one."""

    template: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Allow messages to be counted; their values may be mappings."""
        return hash(self.template)

    def __str__(self) -> str:
        """Render in English.

        >>> str(Message("{rows} {rows:row|rows} of {file}", {"rows": 1200, "file": "a.csv"}))
        '1,200 rows of a.csv'
        """
        return render(self, ENGLISH)


@dataclass(frozen=True)
class Joined:
    """Several messages in a row."""

    parts: Sequence[Value]
    mark: str = "; "
    """What stands between two of them; it is translated as well."""

    def __post_init__(self) -> None:
        """Keep the parts as a tuple."""
        object.__setattr__(self, "parts", tuple(self.parts))

    def __str__(self) -> str:
        """Render in English."""
        return write(self, ENGLISH)


Value: TypeAlias = "str | int | float | Figure | Message | Joined"
"""A string is written as it is: a name, a path, a text of the user's."""
Wording: TypeAlias = Message | Joined | str
"""What a record says to a reader; a string is in English already."""


class Language(Protocol):
    """What a language needs to render a message."""

    @property
    def symbols(self) -> Symbols:
        """How numbers are written."""

    def translate(self, template: str) -> str:
        """Return the template in this language; the English one where the catalogue lacks it."""

    def plural(self, count: float, forms: Sequence[str]) -> str:
        """Choose the form of a word that agrees with a count."""


@dataclass(frozen=True)
class _English:
    symbols: Symbols = ENGLISH_SYMBOLS

    def translate(self, template: str) -> str:
        return template

    def plural(self, count: float, forms: Sequence[str]) -> str:
        return forms[0] if count == 1 else forms[-1]


ENGLISH: Language = _English()


def render(message: Message, language: Language) -> str:
    """Render a message in a language.

    Raises:
        KeyError: the template names a value that the message lacks.
    """

    def fill(hole: re.Match[str]) -> str:
        value, forms = message.values[hole[1]], hole[2]
        if forms is None:
            return write(value, language)
        count = value.value if isinstance(value, Figure) else value
        words = forms.split("|")
        return language.plural(count, words) if isinstance(count, int | float) else words[-1]

    return HOLE.sub(fill, language.translate(message.template))


def write(value: Value, language: Language) -> str:
    """Write a value in a language."""
    if isinstance(value, Message):
        return render(value, language)
    if isinstance(value, Joined):
        return language.translate(value.mark).join(write(part, language) for part in value.parts)
    if isinstance(value, Figure):
        return value.write(language.symbols)
    return value if isinstance(value, str) else number(value, language.symbols)


def msg(template: str, /, **values: Value) -> Message:
    """Return a message of a template and its values.

    >>> str(msg("{rows} {rows:row|rows} of {file}", rows=1, file="a.csv"))
    '1 row of a.csv'
    """
    return Message(template, values)


def between(low: float, high: float, style: Style = "number") -> Message:
    """Return both ends of an interval; in words where it has no width, or where there is none.

    >>> str(between(-0.5, 0.25, "signed")), str(between(0.5, 0.5))
    ('−0.500 to +0.250', 'no width: equal in all resamples')
    """
    if low == high:
        return msg("no width: equal in all resamples")
    return (
        verbatim("–")
        if math.isnan(low + high)
        else msg("{low} to {high}", low=Figure(low, style), high=Figure(high, style))
    )


def verbatim(text: str) -> Message:
    """Return a message that says a text as it is: a stranger's words, an older file's finished sentence."""
    return Message("{text}", {"text": text})


def term(name: str) -> Message:
    """Return a message of one fixed term, such as the name of a check: catalogues hold it under its own name."""
    return Message(name)
