"""The page of a running server, for trying it in a browser: three files, and nothing is fetched from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources

from starlette.responses import Response

from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice

WORDS = {
    "title": msg("Try the served models"),
    "model": msg("Model"),
    "key": msg("Key of the server, if it has one"),
    "input": msg("Your text"),
    "send": msg("Send"),
    "stop": msg("Stop"),
    "clear": msg("Begin anew"),
    "failed": msg("The server does not answer."),
}
"""The page's own texts; those that only its script shows are in attributes of the body."""


@dataclass(frozen=True)
class Page:
    """The page in a language."""

    language: Language

    @property
    def files(self) -> Mapping[str, Callable[[], Response]]:
        """What answers each path."""
        page = _read("page.html")
        for name, word in {**WORDS, "language": self.language}.items():
            page = page.replace(f"[[{name}]]", html.escape(voice(self.language).render(word)))
        return {
            "/": partial(Response, page, media_type="text/html"),
            "/page.js": partial(Response, _read("page.js"), media_type="text/javascript"),
            "/page.css": partial(Response, _read("page.css"), media_type="text/css"),
        }


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
