"""What every endpoint uses: the models, the worker, the limits; and waiting for an answer whose client may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from kamerton.serve.abtest import AbTest, Assigned
from kamerton.serve.leaving import answered
from kamerton.serve.metrics import Metrics
from kamerton.serve.models import ServedModel
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import Body, parse
from kamerton.serve.worker import ModelCall, Worker

T = TypeVar("T", bound=Body)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RequestLimits:
    """What a request may take."""

    body_bytes: int = 1 << 20
    """About 250,000 tokens of English: more than the models served here take."""
    waiting: int = 64
    """Requests in the queue: beyond, a client is better told to come again."""
    seconds: float = 120.0
    """For a whole answer."""


@dataclass(frozen=True)
class ServerContext:
    """The server's parts."""

    models: Mapping[str, ServedModel]
    worker: Worker
    metrics: Metrics
    limits: RequestLimits
    ab: AbTest | None = None
    log_prompts: bool = False

    async def body(self, request: Request, kind: type[T]) -> T:
        """Read a request; note it for the log if prompts are logged."""
        body = await parse(request, kind, self.limits.body_bytes)
        if self.log_prompts:
            self.note(request, {"body": body.model_dump(exclude_none=True)})
        return body

    def model(self, request: Request, name: str, user: str | None) -> tuple[ServedModel, Assigned | None]:
        """Return the model of a name; of the A/B test's name, an arm for this user with what identifies the answer.

        Raises:
            RefusalError: there is no such model.
        """
        assigned = self.ab.assign(user) if self.ab and name == self.ab.name else None
        model = self.models.get(assigned.arm if assigned else name)
        if model is None:
            known = ", ".join([*self.models, *([self.ab.name] if self.ab else [])])
            raise RefusalError(404, f"model: there is no such model; known are {known}", "model", "model_not_found")
        self.note(request, {"model": model.name})
        return model, assigned

    def note(self, request: Request, values: Mapping[str, object]) -> None:
        """Add values to the request's line in the log."""
        request.state.log.update(values)

    async def do(
        self,
        request: Request,
        model: ServedModel,
        work: Callable[[ServedModel, Sequence[Any]], Sequence[Any]],
        rows: Sequence[Any],
    ) -> Sequence[Any]:
        """Have the worker do some work, and return a result for each row.

        Raises:
            RefusalError: the queue is full, the work refuses the rows or fails, or the client left.
        """
        self.worker.require_room()
        future: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()

        def resolve(result: Sequence[Any] | RefusalError) -> None:
            if future.done():
                return
            if isinstance(result, RefusalError):
                future.set_exception(result)
            else:
                future.set_result(result)

        call = ModelCall(model, rows, work, resolve)
        self.worker.put(call)
        try:
            return await self.answered(request, future)
        finally:
            call.cancelled = True

    async def answered(self, request: Request, answer: asyncio.Future[Answer]) -> Answer:
        """Wait for an answer while its client stays, and until its time is over. Raises `RefusalError`."""
        return await answered(request, answer, self.limits.seconds)
