"""Which language the reader wants; light, so that English loads no catalogue."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

Language = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = ("en", "ru")
DOMAIN, LOCALES = "kamerton", Path(__file__).parent
"""Name and folder of the gettext catalogues: `LOCALES/ru/LC_MESSAGES/kamerton.mo`."""
FLAG, VARIABLE = "--language", "KAMERTON_LANGUAGE"
ACCEPTED = re.compile(r"(?:^|,)\s*([A-Za-z]{1,8})[\w-]*\s*(?:;\s*q=([01](?:\.\d{1,3})?))?")
"""A language in a browser's header, without its region, and its weight."""
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Variables that name the locale of messages; the first that is set decides (POSIX, section 8.2)."""


def language_of(environment: Mapping[str, str]) -> Language:
    """Return the language that the environment asks for: KAMERTON_LANGUAGE, else the locale; else English.

    >>> language_of({"LANG": "ru_RU.UTF-8"}), language_of({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"})
    ('ru', 'en')
    """
    asked = environment.get(VARIABLE) or next(filter(None, map(environment.get, LOCALE)), "")
    return next((language for language in LANGUAGES if asked.partition("_")[0] == language), "en")


def language_accepted(header: str, usual: Language) -> Language:
    """Return the first of our languages that a browser wants most (`Accept-Language`, RFC 9110, section 12.5.4).

    >>> language_accepted("de, en;q=0.5, ru-RU;q=0.8", "en"), language_accepted("de", "ru")
    ('ru', 'ru')
    """
    wanted = {name.lower(): float(weight or 1) for name, weight in ACCEPTED.findall(header)}
    best = max(LANGUAGES, key=lambda language: (wanted.get(language, 0.0), language == usual))
    return best if wanted.get(best) else usual


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
