"""What the command line says, in the reader's language; English loads no catalogue."""

import gettext
import os
from contextvars import ContextVar
from typing import Any

from kamerton.core import registry
from kamerton.core.messages import Wording
from kamerton.i18n.language import DOMAIN, LOCALES, Language

LANGUAGE: ContextVar[Language] = ContextVar("language", default="en")


def speak(language: Language) -> None:
    """Set the language of everything that is said from now on, the command-line library's own words included."""
    LANGUAGE.set(language)
    if language != "en":
        os.environ["LANGUAGE"] = language
        gettext.bindtextdomain(DOMAIN, LOCALES)
    gettext.textdomain("messages" if language == "en" else DOMAIN)


def worded(wording: Wording) -> str:
    """Render a message in the reader's language."""
    return str(wording) if LANGUAGE.get() == "en" else _voice().render(wording)


def text(english: str) -> str:
    """Translate a fixed text; one that the catalogue lacks is returned as it is."""
    return english if LANGUAGE.get() == "en" else _voice().translate(english)


def _voice() -> Any:
    return registry.load("kamerton.i18n.voice:voice")(LANGUAGE.get())
