"""Which language the reader wants; light, so that English loads no catalogue."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

Language = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = ("en", "ru")
DOMAIN, LOCALES = "kamerton", Path(__file__).parent
"""Name and folder of the gettext catalogues: `LOCALES/ru/LC_MESSAGES/kamerton.mo`."""
FLAG, VARIABLE = "--language", "KAMERTON_LANGUAGE"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Variables that name the locale of messages; the first that is set decides (POSIX, section 8.2)."""


def language_of(environment: Mapping[str, str]) -> Language:
    """Return the language that the environment asks for: KAMERTON_LANGUAGE, else the locale; else English.

    >>> language_of({"LANG": "ru_RU.UTF-8"}), language_of({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"})
    ('ru', 'en')
    """
    asked = environment.get(VARIABLE) or next(filter(None, map(environment.get, LOCALE)), "")
    return next((language for language in LANGUAGES if asked.partition("_")[0] == language), "en")


def language_asked(arguments: Sequence[str], environment: Mapping[str, str]) -> Language:
    """Return the language of a command line: that of `--language`, else of the environment.

    >>> language_asked(["tune", "--help", "--language", "ru"], {})
    'ru'
    """
    asked = ""
    for word, following in pairwise([*arguments, ""]):
        if word == FLAG or word.startswith(f"{FLAG}="):
            asked = word.partition("=")[2] or following
    return next((language for language in LANGUAGES if language == asked), language_of(environment))
