"""The thread that runs the models: what waits is answered together, and answers that are being written go on.

Tokenizers and models are used in this thread alone. The handlers of requests put calls into the queue, whose length is
bounded, and are told by callbacks in their event loop: those of one batch together, since clients who are answered one
by one ask again one by one, and the next batches would be small.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from kamerton.core.errors import KamertonError
from kamerton.kernels.prepacked import prepacked
from kamerton.serve.lane import MOST_TOGETHER, Generation, Lane
from kamerton.serve.metrics import Metrics, log_failure
from kamerton.serve.models import ServedModel
from kamerton.serve.refusal import RefusalError

MOST_ROWS = 512
"""Rows that are classified at once."""
GATHER, GATHER_SECONDS = 0.25, 0.02
"""How long to wait for as many requests as were answered last, in times of what these took, and at most: clients who
are answered together ask again one after the other, and a batch of one row takes a third of the time of eight. One
client never waits."""
FAILURES = (
    KamertonError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
"""What fails one batch and not the server; libraries raise these on inputs that nobody foresaw."""


@dataclass(eq=False)
class ModelCall:
    """Work for a model that is done at once: classify, embed, or prepare the prompt of an answer."""

    model: ServedModel
    rows: Sequence[Any]
    work: Callable[[ServedModel, Sequence[Any]], Sequence[Any]]
    """Maps rows, perhaps those of several calls together, to a result each."""
    done: Callable[[Sequence[Any] | RefusalError], None]
    """Called in the event loop, with the results or why there are none."""
    cancelled: bool = False


class Worker:
    """The queue, and the thread that empties it."""

    def __init__(
        self, models: Collection[ServedModel], most_waiting: int, metrics: Metrics, died: Callable[[], None]
    ) -> None:
        self._models, self._most_waiting, self._metrics, self._died = models, most_waiting, metrics, died
        self._lanes = list({id(model.lane): model.lane for model in models if model.lane}.values())
        self._waiting: deque[ModelCall | Generation] = deque()
        self._changed = threading.Condition()
        self._taken_last: list[ModelCall | Generation] = []
        self._stopping, self._took = False, 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._messages: list[Callable[[], object]] = []
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        metrics.waiting.set_function(lambda: len(self._waiting))
        metrics.active.set_function(lambda: sum(len(lane.rows) for lane in self._lanes))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive() and not self._stopping

    def require_room(self, count: int = 1) -> None:
        """Raise a RefusalError (429) if so many more calls would not fit into the queue."""
        if len(self._waiting) + count > max(count, self._most_waiting):
            rule = f"{len(self._waiting)} requests wait already; ask again later"
            raise RefusalError(429, rule, headers={"Retry-After": "1"})

    def put(self, *calls: ModelCall | Generation) -> None:
        """Add calls to the queue, from the event loop."""
        self._loop = asyncio.get_running_loop()
        with self._changed:
            self._waiting.extend(calls)
            self._changed.notify()

    def tell(self, message: Callable[[], object]) -> None:
        """Have a callback run in the event loop after the current batch or step; only for this thread."""
        self._messages.append(message)

    def _send(self) -> None:
        """Run the waiting callbacks in the event loop."""
        messages, self._messages = self._messages, []
        if messages and self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_run_all, messages)

    def stop(self) -> None:
        """End the thread once everything is answered."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                for network in {model.predictor.engine.model: None for model in self._models}:
                    stack.enter_context(prepacked(network, MOST_TOGETHER))
                while self._wait():
                    began = time.monotonic()
                    calls, generations = self._taken()
                    for call in self._together(calls):
                        self._do(call)
                        self._send()
                    for lane in self._lanes:
                        self._write(lane, [one for one in generations if one.lane is lane])
                        self._send()
                    self._took = time.monotonic() - began
        finally:
            if not self._stopping:
                self._died()
                gone = RefusalError(500, "the server failed; its log says why")
                for one in (*self._taken_last, *self._waiting, *(row for lane in self._lanes for row in lane.rows)):
                    self._fail(one, gone)
                self._send()

    def _wait(self) -> bool:
        """Wait for work; return False if there is none, and none will come."""
        with self._changed:
            while not (self._waiting or any(lane.rows for lane in self._lanes)):
                if self._stopping:
                    return False
                self._changed.wait()
            if not any(lane.rows for lane in self._lanes):
                asked, seconds = len(self._taken_last), min(GATHER * self._took, GATHER_SECONDS)
                self._changed.wait_for(lambda: len(self._waiting) >= asked or self._stopping, seconds)
        return True

    def _taken(self) -> tuple[list[ModelCall], list[Generation]]:
        """Take all calls, and the answers for which there is room, in their order."""
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
            calls, generations, full = list[ModelCall](), list[Generation](), set[Lane]()
            for one in waiting:
                if one.cancelled:
                    self._metrics.left.inc()
                elif isinstance(one, ModelCall):
                    calls.append(one)
                elif one.lane in full or not self._has_room(one, generations):
                    full.add(one.lane)  # nobody overtakes
                    self._waiting.append(one)
                else:
                    generations.append(one)
            self._taken_last = [*calls, *generations]
        return calls, generations

    def _has_room(self, generation: Generation, others: Sequence[Generation]) -> bool:
        lane = generation.lane
        return lane.has_room([*(one for one in others if one.lane is lane), generation])

    def _together(self, calls: Sequence[ModelCall]) -> Iterator[list[ModelCall]]:
        """Group calls of one model and one kind of work, of at most so many rows."""
        groups: dict[tuple[int, object], list[ModelCall]] = {}
        for call in calls:
            key = id(call.model), call.work
            if sum(len(one.rows) for one in groups.get(key, ())) + len(call.rows) > MOST_ROWS:
                yield groups.pop(key, [])
            groups.setdefault(key, []).append(call)
        yield from groups.values()

    def _do(self, calls: Sequence[ModelCall]) -> None:
        """Answer calls together; where that fails, each alone, so that only the faulty one is refused."""
        if not calls:
            return
        try:
            results = iter(calls[0].work(calls[0].model, [row for call in calls for row in call.rows]))
        except RefusalError as refusal:
            if len(calls) == 1:
                self._fail(calls[0], refusal)
        except FAILURES as error:
            if len(calls) == 1:
                self._fail(calls[0], self._refusal(error))
        else:
            for call in calls:
                self.tell(partial(call.done, [next(results) for _ in call.rows]))
            return
        if len(calls) > 1:
            for call in calls:
                self._do([call])

    def _write(self, lane: Lane, generations: Sequence[Generation]) -> None:
        """Add answers to a lane, and generate one more token of each."""
        try:
            fresh = [row for row in (*lane.rows, *generations) if not row.tokens]
            if generations:
                lane.join(generations)
            for ended in lane.step():
                if ended.cancelled:
                    self._metrics.left.inc()
                self._metrics.tokens.labels("answer").inc(len(ended.tokens))
            for row in fresh:
                self._metrics.first.observe(time.monotonic() - row.asked)
        except FAILURES as error:
            refusal = self._refusal(error)
            for row in {id(row): row for row in (*lane.drop(), *generations)}.values():
                self._fail(row, refusal)

    def _fail(self, call: ModelCall | Generation, refusal: RefusalError) -> None:
        self.tell(partial(call.done if isinstance(call, ModelCall) else call.fail, refusal))

    def _refusal(self, error: Exception) -> RefusalError:
        """Log an error, and return what the client is told."""
        self._metrics.errors.labels(type(error).__name__).inc()
        log_failure(error)
        if isinstance(error, MemoryError):
            return RefusalError(503, "there is too little memory for this request")
        return RefusalError(500, "the model failed on this request; the server's log says why")


def _run_all(messages: Sequence[Callable[[], object]]) -> None:
    for message in messages:
        message()
