"""Who may ask: checked before any endpoint; each request is counted and logged, its answer marked as safe to show.

A page of another site may send requests to a server on this machine. It cannot read answers (there is no CORS), cannot
send JSON without asking first, and is refused by its `Origin`; a name that it makes point to this machine, by `Host`.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kamerton.serve.metrics import Metrics, log
from kamerton.serve.refusal import RefusalError

OPEN = ("/", "/page.js", "/stream.js", "/page.css", "/health", "/ready")
"""Paths that need no key: they tell nothing about requests."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""Headers of every answer."""


@dataclass(frozen=True)
class Guard:
    """Wraps the application.

    Args:
        app: the application.
        key: that every request must have; empty if none is needed.
        local: whether only this machine can reach the server, so that `Host` must name it.
        routes: the known paths: others are logged as one, since anyone can invent them.
    """

    app: ASGIApp
    key: str
    local: bool
    routes: frozenset[str]
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, pass it on, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        notes: dict[str, object] = {}
        scope.setdefault("state", {})["log"] = notes

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_SAFE]
            await send(message)

        try:
            if refusal := self._refusal(scope):
                await refusal.response()(scope, receive, marked)
            else:
                await self.app(scope, receive, marked)
        finally:
            route = scope["path"] if scope["path"] in self.routes else "other"
            seconds = time.monotonic() - began
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            if route not in ("/health", "/ready", "/metrics"):
                about = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
                log("request", about | notes)

    def _refusal(self, scope: Mapping[str, Any]) -> RefusalError | None:
        headers = Headers(raw=list(scope["headers"]))
        host = headers.get("host", "")
        if self.local and host_name(host) not in LOOPBACK:
            return RefusalError(421, "this server answers to the names of its own machine alone")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return RefusalError(403, "pages of other origins may not ask this server")
        if not self.key or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), self.key):
            return None
        rule = "give the server's key: Authorization: Bearer KEY"
        return RefusalError(401, rule, headers={"WWW-Authenticate": "Bearer"})


_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE.items()]


def same(one: str, other: str) -> bool:
    """Return whether two keys are equal, in a time that tells neither their lengths nor where they differ."""
    first, second = (hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() for key in (one, other))
    return hmac.compare_digest(first, second)


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port.

    >>> host_name("[::1]:8000"), host_name("localhost:8000")
    ('::1', 'localhost')
    """
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
