"""Refusals: what a request cannot have, in the shape of OpenAI's errors. Answers for programs are English."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

CODES = {401: "invalid_api_key", 404: "not_found", 413: "too_large", 429: "queue_full", 503: "unavailable"}


class RefusalError(Exception):
    """A request that is answered by an error.

    Args:
        status: of HTTP.
        message: the rule, the value, and the remedy.
        param: the field that is wrong.
        code: a word for programs.
        headers: of the answer.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str = "", headers: Mapping[str, str] = {}
    ) -> None:
        self.status, self.message, self.param, self.headers = status, message, param, headers
        self.code = code or CODES.get(status, "invalid_value" if status < 500 else "server_error")
        super().__init__(message)

    @property
    def body(self) -> dict[str, object]:
        """The answer's JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.body, self.status, dict(self.headers))
