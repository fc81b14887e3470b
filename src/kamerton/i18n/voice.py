"""Sentences and figures in the reader's language.

English stands in the code. The catalogue of another language gives for each English sentence its own; `{name}` holds a
value, and `{count:row|rows}` the form of a word that agrees with a count: two forms in English, three in Russian.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml
from babel import Locale
from babel.numbers import get_decimal_symbol

from kamerton.core.figures import ENGLISH_SYMBOLS, Figure, Style, Symbols
from kamerton.core.messages import Joined, Message, Value, write
from kamerton.i18n.language import Language

HOLE = re.compile(r"\{(\w+)(?::([^}]*))?\}")
THOUSANDS, POINT = re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), re.compile(r"(?<=\d)\.(?=\d)")
UNITS = {
    "s": "с", "min": "мин", "h": "ч", "B": "Б", "KB": "КБ", "MB": "МБ", "GB": "ГБ", "TB": "ТБ", "%": "%",
    "K": "тыс.", "M": "млн",
}  # fmt: skip
UNIT = re.compile(rf"(?<=\d) ?({'|'.join(sorted(map(re.escape, UNITS), key=len, reverse=True))})(?!\w)")
BILLION = re.compile(r"(?<=\d)B\b")
NUMBER = r"[+−-]?[\d,]*\d(?:\.\d+)?(?:e-?\d+)?"
QUANTITY = re.compile(rf"(?:below )?{NUMBER}(?: ?(?:{'|'.join(UNITS)}|B|times))?(?: {NUMBER} (?:{'|'.join(UNITS)}))?")
INTERVAL = re.compile(rf"({NUMBER}%?) to ({NUMBER}%?)")
ENCLOSED = ("place", "cause", "dropped", "shortened")
"""Holes whose values hold no semicolon: what stands behind one is the next member of a list."""
GLUED = re.compile(r"[\w)'\"]$")
"""What stands before a hole that may be empty: the rest of a sentence that is not always said."""
FORMS = {"one": 0, "few": 1, "many": 2, "other": 1}
"""Which of a word's forms a plural category takes; "other" is a fraction in Russian, and the second form in English."""
LISTED = ("; ", ", ", " and ")
"""What parts a list whose members are said one by one."""
NARROW, FIXED = "\u202f", "\u00a0"
"""Spaces at which no line breaks: between thousands, and before a unit (Милчин, Справочник издателя)."""


@dataclass(frozen=True)
class Counted:
    """A count in a sentence: as a figure, or as the form of a word that agrees with it."""

    count: int
    voice: Voice

    def __str__(self) -> str:
        return self.voice.figure(f"{self.count:,}")

    def __format__(self, forms: str) -> str:
        return self.voice.agreeing(self.count, forms.split("|")) if forms else str(self)


class Uncounted(str):
    """A value that is no count where a count was meant: words agree with it as with many."""

    __slots__ = ()

    def __format__(self, forms: str) -> str:
        return forms.split("|")[-1] or str(self)


@dataclass(frozen=True)
class Voice:
    """Speaks one language."""

    language: Language
    texts: Mapping[str, str]
    """Sentences by their English; empty for English itself."""

    def text(self, english: str) -> str:
        """Give the sentence, its holes not yet filled; English where the catalogue lacks it."""
        return self.texts.get(english, english)

    def say(self, english: str, values: Mapping[str, object]) -> str:
        """Give the sentence with values filled in; whole numbers count."""
        return self.text(english).format_map({name: self.counted(value) for name, value in values.items()})

    def counted(self, value: object) -> object:
        """Let a whole number agree with words; anything else is left as it is."""
        return Counted(value, self) if isinstance(value, int) else value

    @cached_property
    def symbols(self) -> Symbols:
        """The signs that numbers are written with (Unicode CLDR), and the units."""
        if self.language == "en":
            return ENGLISH_SYMBOLS
        locale = Locale(self.language)
        return Symbols(
            decimal=get_decimal_symbol(locale),
            group=NARROW,
            gap=FIXED,
            percent="%",
            below=self.text("below {limit}"),
            units=UNITS | {"B": "млрд", "T": "трлн"},
        )

    def translate(self, template: str) -> str:
        """Return a message's template in this language; the English one where the catalogue lacks it."""
        return self.texts.get(template, template)

    def plural(self, count: float, forms: Sequence[str]) -> str:
        """Choose the form of a word that agrees with a count (Unicode CLDR, plural rules of cardinals).

        >>> [voice("ru").plural(n, ["строка", "строки", "строк"]) for n in (1, 3, 11, 25, 41)]
        ['строка', 'строки', 'строк', 'строк', 'строка']
        """
        return forms[min(FORMS[Locale(self.language).plural_form(count)], len(forms) - 1)]

    def render(self, said: Message | Joined | str) -> str:
        """Render a message; a finished English sentence is said again as far as its template can be found."""
        return self.repeat(said) if isinstance(said, str) else write(said, self)

    def agreeing(self, count: int, forms: list[str]) -> str:
        """Choose the form of a word after a count."""
        return self.plural(count, forms)

    def figure(self, english: str) -> str:
        r"""Write a number as this language does: decimal comma, fixed spaces, its units.

        >>> voice("ru").figure("31,416.5"), voice("ru").figure("1 min 05 s"), voice("ru").figure("1.5 GB")
        ('31\u202f416,5', '1\xa0мин 05\xa0с', '1,5\xa0ГБ')
        """
        if self.language == "en":
            return english
        spaced = POINT.sub(",", THOUSANDS.sub(NARROW, english)).replace("below ", "меньше ")
        return UNIT.sub(lambda found: FIXED + UNITS[found[1]], BILLION.sub(f"{FIXED}млрд", spaced))

    def write(self, value: Value) -> str:
        """Write a value of a message: a number, a text, a message."""
        return write(value, self)

    def interval(self, low: float, high: float, style: Style = "number") -> str:
        """Write both ends of an interval."""
        return self.render(Message("{low} to {high}", {"low": Figure(low, style), "high": Figure(high, style)}))

    def again(self, said: str) -> str | None:
        """Say a whole English sentence again that was put together earlier; None where the catalogue lacks it.

        Lists of sentences are said one by one, and a sentence may begin with a capital where the catalogue has none.
        """
        if said in self.texts or not self.texts:
            return self.texts.get(said, said)
        if "\n" in said:
            return "\n".join(map(self.repeat, said.split("\n")))
        return self._headed(said) or self._filled(said) or self._listed(said) or self._capital(said)

    def _headed(self, said: str) -> str | None:
        """Say a sentence behind a word that the catalogue has with its colon: `severe: …`."""
        head, _, rest = said.partition(" ")
        return f"{self.texts[head]} {self.repeat(rest)}" if rest and head in self.texts and head[-1] == ":" else None

    def _filled(self, said: str) -> str | None:
        for pattern in self._patterns:
            if pattern.anchor in said and (found := pattern.matcher.fullmatch(said)):
                return self.say(
                    pattern.english, {name: self._value(value) for name, value in found.groupdict().items()}
                )
        return None

    def _listed(self, said: str) -> str | None:
        for mark in (mark for mark in LISTED if mark in said):
            members = [self._member(part) for part in said.split(mark)]
            if None not in members:
                return self.text(mark).join(map(str, members))
        return None

    def _member(self, part: str) -> str | None:
        return self.figure(part) if QUANTITY.fullmatch(part) else self.again(part)

    def _capital(self, said: str) -> str | None:
        small = self.again(said[0].lower() + said[1:]) if said[:1].isupper() else None
        return small[0].upper() + small[1:] if small else None

    def repeat(self, said: Message | Joined | str) -> str:
        """Render a message; say a finished sentence again, or leave it in English."""
        return (self.again(said) or said) if isinstance(said, str) else write(said, self)

    def _value(self, value: str) -> object:
        if value.replace(",", "").isdecimal():
            return int(value.replace(",", ""))
        if ends := INTERVAL.fullmatch(value):
            return self.say("{low} to {high}", {"low": self.figure(ends[1]), "high": self.figure(ends[2])})
        return Uncounted(self.figure(value) if QUANTITY.fullmatch(value) else self.repeat(value))

    @cached_property
    def _patterns(self) -> list[_Pattern]:
        """Sentences with holes as patterns; those with more words of their own are tried first."""
        holed = sorted((text for text in self.texts if HOLE.search(text)), key=lambda text: -len(HOLE.sub("", text)))
        patterns = [_Pattern(_matcher(text), text, max(HOLE.sub("{}", text).split("{}"), key=len)) for text in holed]
        own = [HOLE.sub(lambda hole: hole[2] or "", pattern.english) for pattern in patterns]
        return [one for one, words in zip(patterns, own, strict=True) if sum(map(str.isalpha, words)) > 3]


@dataclass(frozen=True)
class _Pattern:
    matcher: re.Pattern[str]
    english: str
    anchor: str
    """Its longest part without a hole: where a sentence lacks it, the pattern need not be tried."""


def _matcher(text: str) -> re.Pattern[str]:
    """Make a pattern that reads the values out of a sentence."""
    parts, last, seen = [], 0, set[str]()
    for hole in HOLE.finditer(text):
        parts.append(re.escape(text[last : hole.start()]))
        name, forms = hole[1], hole[2]
        least = "*" if GLUED.search(text[: hole.start()]) else "+"
        # what begins a sentence is no sentence itself, and some hold no list
        sign = "[^;]" if name in ENCLOSED else "." if hole.start() else r"(?:(?!\. ).)"
        free = f"(?P={name})" if name in seen else f"(?P<{name}>{sign}{least}?)"
        parts.append(f"(?:{'|'.join(map(re.escape, forms.split('|')))})" if forms else free)
        seen |= set() if forms else {name}
        last = hole.end()
    return re.compile("".join([*parts, re.escape(text[last:])]), re.DOTALL)


@cache
def voice(language: Language) -> Voice:
    """Read a language's catalogue: the files beside this one whose names begin with it."""
    texts: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob(f"{language}*.yaml")):
        texts |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return Voice(language, texts)


ENGLISH = Voice("en", {})
