"""Messages and figures in the reader's language: gettext's catalogues, with Unicode's plural rules and number symbols.

English stands in the code. The catalogue of another language holds a template for each English one; `{name}` is a
value, and `{count:row|rows}` the form of a word that agrees with a count: two forms in English, three in Russian.
"""

import gettext
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from babel import Locale
from babel.numbers import get_decimal_symbol

from kamerton.core.figures import ENGLISH_SYMBOLS, Style, Symbols
from kamerton.core.messages import Value, Wording, between, write
from kamerton.i18n.language import DOMAIN, LOCALES, Language

UNITS = {
    "s": "с", "min": "мин", "h": "ч", "bytes": "Б", "KB": "КБ", "MB": "МБ", "GB": "ГБ", "TB": "ТБ",
    "K": "тыс.", "M": "млн", "B": "млрд", "T": "трлн",
}  # fmt: skip
FORMS = {"one": 0, "few": 1, "many": 2, "other": 1}
"""Which of a word's forms a plural category takes; "other" is a fraction in Russian, and the second form in English."""
NARROW, FIXED = "\u202f", "\u00a0"
"""Spaces at which no line breaks: between thousands, and before a unit (Милчин, Справочник издателя)."""


@dataclass(frozen=True)
class Voice:
    """Renders messages in one language."""

    language: Language
    translate: Callable[[str], str]
    """Returns a template or a fixed text in this language; the English one where the catalogue lacks it."""

    @cached_property
    def symbols(self) -> Symbols:
        """The signs that numbers are written with (Unicode CLDR), and the units."""
        if self.language == "en":
            return ENGLISH_SYMBOLS
        decimal = get_decimal_symbol(Locale(self.language))
        words = {"below": self.translate("below {limit}"), "above": self.translate("above {limit}")}
        return Symbols(decimal=decimal, group=NARROW, gap=FIXED, percent="%", units=UNITS, **words)

    def plural(self, count: float, forms: Sequence[str]) -> str:
        """Choose the form of a word that agrees with a count (Unicode CLDR, plural rules of cardinals).

        >>> [voice("ru").plural(n, ["строка", "строки", "строк"]) for n in (1, 3, 11, 25, 41)]
        ['строка', 'строки', 'строк', 'строк', 'строка']
        """
        return forms[min(FORMS[Locale(self.language).plural_form(count)], len(forms) - 1)]

    def render(self, wording: Wording) -> str:
        """Render a message; a plain text, of an older run or of the user, is returned as it is."""
        return write(wording, self)

    def write(self, value: Value) -> str:
        """Write a value of a message: a number, a text, a message."""
        return write(value, self)

    def interval(self, low: float, high: float, style: Style = "number") -> str:
        """Write both ends of an interval."""
        return self.render(between(low, high, style))


@cache
def voice(language: Language) -> Voice:
    """Return the voice of a language; English reads no catalogue."""
    if language == "en":
        return ENGLISH
    catalogue = gettext.translation(DOMAIN, LOCALES, [language])
    return Voice(language, lambda english: catalogue.gettext(english) if english else "")


ENGLISH = Voice("en", str)
