"""What the command line says, in the reader's language; English loads no catalogue."""

from __future__ import annotations

import gettext
import os
from contextvars import ContextVar

from kamerton.core import registry
from kamerton.core.messages import Wording
from kamerton.i18n.language import DOMAIN, LOCALES, Language

LANGUAGE: ContextVar[Language] = ContextVar("language", default="en")


def speak(language: Language) -> None:
    """Set the language of everything that is said from now on, the command-line library's own words included."""
    LANGUAGE.set(language)
    if language == "en":
        gettext.textdomain("messages")
        return
    os.environ["LANGUAGE"] = language
    gettext.bindtextdomain(DOMAIN, LOCALES)
    gettext.textdomain(DOMAIN)


def worded(wording: Wording) -> str:
    """Render a message in the reader's language."""
    language = LANGUAGE.get()
    if language == "en":
        return str(wording)
    rendered: str = registry.load("kamerton.i18n.voice:voice")(language).render(wording)
    return rendered


def text(english: str) -> str:
    """Translate a fixed text; one that the catalogue lacks is returned as it is."""
    language = LANGUAGE.get()
    if language == "en":
        return english
    translated: str = registry.load("kamerton.i18n.voice:voice")(language).translate(english)
    return translated
