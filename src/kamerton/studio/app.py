"""The application: what is shared by all pages, the routes, and how errors are answered."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kamerton.core.errors import Fault, KamertonError
from kamerton.core.messages import Message, msg
from kamerton.i18n.language import LANGUAGES, Language
from kamerton.report.html import KEYS, STYLE
from kamerton.serve.page import STREAMS
from kamerton.studio import again, commands, comparing, home, judging, live, new, trying, verdict
from kamerton.studio.context import Studio
from kamerton.studio.guard import ENTER, DoorGuard
from kamerton.studio.render import CHOSEN, STATIC, failure, form_of, render
from kamerton.studio.workspace import MissingError

RULES: Mapping[int, Message] = {
    400: msg("the request cannot be read"),
    401: msg("this browser was not let in: open the link that `kamerton studio` printed"),
    403: msg("requests of other pages are refused"),
    404: msg("there is nothing at this address"),
    405: msg("this address takes another kind of request"),
    413: msg("this is larger than is allowed"),
    500: msg("the studio failed; what it wrote on the terminal says why"),
    421: msg("the studio answers to the names of its own machine alone"),
}

SHARED = (STYLE, KEYS, STREAMS)
"""Looks and scripts that the report's pages, or that of `kamerton serve`, have as well."""


def make_app(studio: Studio) -> DoorGuard:
    """Return the application, guarded."""
    routes = [
        Route(ENTER, enter),
        Route("/language", choose_language, methods=["POST"]),
        *(Route(f"/static/{path.name}", partial(_shared, path)) for path in SHARED),
        Mount("/static", StaticFiles(directory=STATIC)),
        *home.ROUTES,
        *trying.ROUTES,
        *judging.ROUTES,
        *commands.ROUTES,
        *verdict.ROUTES,
        *comparing.ROUTES,
        *again.ROUTES,
        *live.ROUTES,
        *new.ROUTES,
    ]
    handlers: Mapping[Any, Any] = {KamertonError: _faults, HTTPException: _unknown, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirect would repeat what the client says in `Host`
    app.state.studio = studio
    return DoorGuard(app, studio.session, partial(_refused, studio.language))


async def enter(request: Request) -> Response:
    """`GET /enter?token=…`: let a browser in."""
    admitted = request.app.state.studio.session.admit(request)
    if admitted is None:
        raise HTTPException(401)
    return admitted


async def choose_language(request: Request) -> Response:
    """`POST /language`: show pages in this language from now on, and go back to the page."""
    form = await form_of(request)
    wanted, back = (form.get(name, [""])[0] for name in ("language", "back"))
    answer = RedirectResponse(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", 303)
    if wanted in LANGUAGES:
        answer.set_cookie(CHOSEN, wanted, httponly=True, samesite="strict", path="/", max_age=10**8)
    return answer


async def _shared(path: Path, _: Request) -> Response:
    return FileResponse(path)


async def _faults(request: Request, error: KamertonError) -> Response:
    return await failure(request, error.faults, 404 if isinstance(error, MissingError) else 422)


async def _unknown(request: Request, error: HTTPException) -> Response:
    rule = RULES.get(error.status_code, RULES[400])
    return await failure(request, (Fault(rule),), error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer a defect of the studio; its log is the terminal."""
    traceback.print_exception(error)
    return await failure(request, (Fault(RULES[500]),), 500)


def _refused(usual: Language, request: Request, status: int) -> Response:
    """Answer a request that is refused: in the server's language, for nothing of the request is trusted."""
    return HTMLResponse(render(usual, "refused.html.j2", {"rule": RULES[status]}), status)
