"""Who may see the studio: the browsers that were let in by a link of this machine, and no page of another site.

A link holds a token that lets one browser in, once. The browser then has a cookie that scripts cannot read and that is
sent from the studio's own pages alone; what changes anything must come from such a page, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kamerton.serve.guard import LOOPBACK, host_name, same

ENTER, STATIC = "/enter", "/static/"
"""What is answered without the cookie."""
READING = ("GET", "HEAD")
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}
"""Headers of every answer."""
MOST_LINKS = 20
"""Links that were given and not used yet; older ones end."""


@dataclass
class Session:
    """The cookie's value, and the tokens that give it."""

    secret: str
    tokens: list[str] = field(default_factory=list)

    @property
    def cookie(self) -> str:
        """The cookie's name: two studios on one machine have different ones, for cookies know no ports."""
        return f"kamerton_{self.secret[:8]}"

    def new_link(self, address: str) -> str:
        """Return a link that lets one browser in, once."""
        token = secrets.token_urlsafe(24)
        self.tokens = [*self.tokens[-MOST_LINKS + 1 :], token]
        return f"{address}{ENTER}?token={token}"

    def admit(self, request: Request) -> Response | None:
        """Use a link up, and return the answer that gives the cookie; None if the token is not known."""
        given = request.query_params.get("token", "")
        known = next((token for token in self.tokens if same(token, given)), None)
        if known is None:
            return RedirectResponse("/", 303) if self.knows(request.scope) else None
        self.tokens.remove(known)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.cookie, self.secret[8:], httponly=True, samesite="strict", path="/", max_age=10**8)
        return answer

    def knows(self, scope: Mapping[str, Any]) -> bool:
        """Return whether a request has the cookie."""
        try:
            cookies = SimpleCookie(Headers(raw=list(scope["headers"])).get("cookie", ""))
        except CookieError:
            return False
        return self.cookie in cookies and same(cookies[self.cookie].value, self.secret[8:])


@dataclass(frozen=True)
class DoorGuard:
    """Wraps the application.

    Args:
        app: the application.
        session: who was let in.
        refuse: makes the answer to a request that is refused, from the request and the status.
    """

    app: ASGIApp
    session: Session
    refuse: Callable[[Request, int], Response]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [] if scope["path"].startswith(STATIC) else [(b"cache-control", b"no-store")]
                own = {name.lower() for name, _ in message["headers"]}  # a page that a command made has its own policy
                usual = [one for one in (*_SAFE, *kept) if one[0] not in own]
                message["headers"] = [*message["headers"], *usual]
            await send(message)

        status = self._status(scope)
        answer = self.app if status == 200 else self.refuse(Request(scope), status)
        await answer(scope, receive, marked)

    def _status(self, scope: Mapping[str, Any]) -> int:
        headers = Headers(raw=list(scope["headers"]))
        host, origin = headers.get("host", ""), headers.get("origin")
        if host_name(host) not in LOOPBACK:
            return 421
        foreign = origin is not None and urlsplit(origin).netloc != host
        if foreign or (scope["method"] not in READING and origin is None):
            return 403
        is_open = scope["path"] == ENTER or scope["path"].startswith(STATIC)
        return 200 if is_open or self.session.knows(scope) else 401


_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE.items()]
