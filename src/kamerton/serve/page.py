"""The page of a running server, for trying it in a browser: its own files, and nothing is fetched from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from kamerton.core.messages import msg
from kamerton.i18n.language import Language, language_accepted
from kamerton.i18n.voice import voice

STREAMS = Path(__file__).with_name("stream.js")
"""The script that reads answers as they come; the studio's pages use it, too."""
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
    """The page, in the language that a browser asks for, else in the server's."""

    language: Language

    @property
    def files(self) -> Mapping[str, Callable[[Request], Response]]:
        """What answers each path."""
        types = {"page.js": "text/javascript", "stream.js": "text/javascript", "page.css": "text/css"}
        return {"/": self._page, **{f"/{name}": partial(_file, _read(name), type) for name, type in types.items()}}

    def _page(self, request: Request) -> Response:
        language = language_accepted(request.headers.get("accept-language", ""), self.language)
        page = _read("page.html")
        for name, word in {**WORDS, "language": language}.items():
            page = page.replace(f"[[{name}]]", html.escape(voice(language).render(word)))
        return Response(page, media_type="text/html", headers={"Vary": "Accept-Language"})


def _file(text: str, media_type: str, _: Request) -> Response:
    return Response(text, media_type=media_type)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
