"""Pages: templates in the reader's language, forms, and fragments that a page takes in while it is open."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pyarrow as pa
from anyio import sleep
from anyio.to_thread import run_sync
from babel.dates import format_datetime
from jinja2 import ChoiceLoader, Environment, FileSystemLoader
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from kamerton.core.errors import Fault
from kamerton.i18n.language import LANGUAGES, Language, language_accepted
from kamerton.i18n.voice import voice
from kamerton.report.html import environment

TEMPLATES, STATIC = Path(__file__).parent / "templates", Path(__file__).parent / "static"
CHOSEN = "kamerton_language"
"""The cookie of a language that was chosen on a page."""
MOST_OF_A_FORM = 1 << 20
"""Bytes of a form; pasted rows and uploads have ways of their own."""
BEAT = 15.0
"""Seconds between signs of life on a stream, by which the server notices that a page is closed."""


@cache
def pages(language: Language) -> Environment:
    """Return the environment of the report's pages, with the studio's templates beside them."""
    found = environment(language)
    own = found.overlay(loader=ChoiceLoader([FileSystemLoader(TEMPLATES), *([found.loader] if found.loader else [])]))
    own.filters |= {"iso": _iso, "moment": partial(_moment, language)}
    return own


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _moment(language: Language, seconds: float) -> str:
    """Write a moment, given in seconds since 1970, in this machine's time zone."""
    return format_datetime(datetime.fromtimestamp(seconds), "d MMM y, H:mm", locale=language)


def language_of(request: Request) -> Language:
    """Return the language of a request: chosen on a page, or the browser's, or the server's."""
    chosen, usual = request.cookies.get(CHOSEN), request.app.state.studio.language
    known = next((one for one in LANGUAGES if one == chosen), None)
    return known or language_accepted(request.headers.get("accept-language", ""), usual)


async def page(request: Request, template: str, values: Mapping[str, object], status: int = 200) -> Response:
    """Render a page in a thread, and return it."""
    language = language_of(request)
    query = request.scope["query_string"].decode("latin-1")
    about = {
        "path": request.scope["path"],  # not that of `url`, which ends where a run's name has a #
        "here": quote(request.scope["path"]) + (f"?{query}" if query else ""),
    }
    text = await run_sync(render, language, template, {**about, **values})
    return HTMLResponse(text, status, headers={"Vary": "Accept-Language, Cookie"})


@cache
def compile_pages(language: Language) -> None:
    """Compile all templates, and let pyarrow import what it needs for values: both would delay a first visit."""
    found = pages(language)
    for name in found.list_templates(filter_func=lambda name: name.endswith(".html.j2")):
        found.get_template(name)
    pa.scalar(0)


def render(language: Language, template: str, values: Mapping[str, object]) -> str:
    """Render a template."""
    return pages(language).get_template(template).render(values).strip() + "\n"


async def failure(request: Request, faults: tuple[Fault, ...], status: int) -> Response:
    """Answer with faults: as a page, or as JSON where a script asked for that."""
    if "application/json" in request.headers.get("accept", ""):
        render = voice(language_of(request)).render
        told = [{"rule": render(one.rule), "place": render(one.place), "remedy": render(one.remedy)} for one in faults]
        return JSONResponse({"faults": told}, status)
    return await page(request, "error.html.j2", {"faults": faults}, status)


async def body_of(request: Request, most: int = MOST_OF_A_FORM) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: it is larger than `most` bytes.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(413)
    return bytes(body)


async def form_of(request: Request, most: int = MOST_OF_A_FORM) -> dict[str, list[str]]:
    """Parse the form that a page posted: the values of each field.

    Raises:
        HTTPException: it is too large, or no form.
    """
    try:
        return parse_qs((await body_of(request, most)).decode(), keep_blank_values=True, max_num_fields=10_000)
    except ValueError:
        raise HTTPException(400) from None


async def json_of(request: Request, most: int = MOST_OF_A_FORM) -> dict[str, Any]:
    """Parse the JSON object that a script posted.

    Raises:
        HTTPException: it is too large, or no object.
    """
    try:
        found = json.loads(await body_of(request, most))
    except (ValueError, RecursionError):
        raise HTTPException(400) from None
    if not isinstance(found, dict):
        raise HTTPException(400)
    return found


def last_event(request: Request) -> str:
    """Return the id of the last event that a page has: the browser says it, or the script that opened the stream."""
    return request.headers.get("last-event-id") or request.query_params.get("after", "")


def stream(events: AsyncIterator[Mapping[str, object] | None]) -> Response:
    """Answer with server-sent events, each a JSON object; None is a sign of life.

    A fragment is `{"id": "loss", "html": "<svg…"}`: the page puts the markup into its element of that id. The key
    `event` is the event's own id, which `last_event` returns when the page comes again.
    """

    async def lines() -> AsyncIterator[str]:
        yield ": open\n\n"
        async for event in events:
            if event is None:
                yield ": alive\n\n"
                continue
            own = f"id: {event['event']}\n" if "event" in event else ""
            data = json.dumps({key: value for key, value in event.items() if key != "event"}, ensure_ascii=False)
            yield f"{own}data: {data}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def changing(
    make: Any, request: Request, seconds: float = 0.2, signature: Any = None
) -> AsyncIterator[Mapping[str, object] | None]:
    """Yield fragments that differ from those that the page has, until it is closed.

    Args:
        make: a function that returns fragments as id to markup; it is called in a thread.
        request: of the page.
        seconds: between looks.
        signature: a cheap function whose result changes when `make` may give something else; called at each look.
    """
    sent: dict[str, str] = {}
    seen, silent = object(), 0.0
    while not (await request.is_disconnected() or request.app.state.studio.stopping):
        now = signature() if signature else object()
        if now != seen:
            seen = now
            for name, html in (await run_sync(make)).items():
                if sent.get(name) != html:
                    sent[name], silent = html, 0.0
                    yield {"id": name, "html": html}
        silent += seconds
        if silent >= BEAT:
            silent = 0.0
            yield None
        await sleep(seconds)
