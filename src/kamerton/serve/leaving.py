"""Waiting for an answer while the client who asked for it stays."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from starlette.requests import Request

from kamerton.serve.refusal import RefusalError

T = TypeVar("T")
LEFT = 499
"""The status in the log of a request whose client left, as nginx has it."""


async def answered(request: Request, answer: asyncio.Future[T], seconds: float | None = None) -> T:
    """Return an answer, which is cancelled if it is not waited for any more; the request's body was read before.

    Raises:
        RefusalError: the client left, or the time is over.
    """
    leaving = asyncio.ensure_future(_left(request))
    both: set[asyncio.Future[Any]] = {answer, leaving}
    try:
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if leaving.done():
            raise RefusalError(LEFT, "the client left")
        raise RefusalError(504, f"no answer within {seconds:g} seconds")
    finally:
        leaving.cancel()
        answer.cancel()


async def _left(request: Request) -> None:
    """Return once the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
