"""The models of the page for trying: a child process, `kamerton serve`, that is started when something is asked.

One child at a time, since models are large. It ends after some idle minutes, when other models are asked, and with the
studio. Its key is random and only in its environment: pages reach it through the studio alone.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2

from kamerton.core.children import clean_environment
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.i18n.language import VARIABLE, Language

KEY, BASE = "KAMERTON_STUDIO_KEY", "--base"
"""The environment variable of the child's key, and the flag by which it serves the base as well."""
IDLE_SECONDS = 600.0
END_SECONDS = 10.0
"""For a child to answer what was asked before it is killed."""
LONGEST_LINE = 1 << 20
LAST_LINES = 8
"""Of what a child wrote, for the error."""
PROGRAM = (sys.executable, "-P", "-m", "kamerton.studio.until_closed")
State = Literal["stopped", "loading", "ready"]


@dataclass
class ServedChild:
    """A child and what it has said.

    Args:
        words: of `kamerton serve`: which models.
    """

    words: tuple[str, ...]
    process: asyncio.subprocess.Process
    key: str
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is ready, or has ended."""
    address: str = ""
    client: httpx2.AsyncClient | None = None
    busy: int = 0
    """Requests that it is answering."""
    used: float = field(default_factory=time.monotonic)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def ended(self) -> bool:
        """Whether the process is over."""
        return self.process.returncode is not None

    async def listen(self) -> None:
        """Read its log until it ends."""
        assert self.process.stderr
        async for line in self.process.stderr:
            self._take(line.decode(errors="replace").rstrip())
        await self.process.wait()
        self.settled.set()
        if self.client:
            await self.client.aclose()

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            self.last.append(line)
            return
        if isinstance(record, dict) and record.get("event") == "ready":
            self.address = record["address"]
            headers = {"Authorization": f"Bearer {self.key}"}
            timeout = httpx2.Timeout(10.0, read=None)
            self.client = httpx2.AsyncClient(base_url=self.address, headers=headers, timeout=timeout, trust_env=False)
            self.settled.set()

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Yield the client; the child is not idle meanwhile."""
        assert self.client
        self.busy += 1
        try:
            yield self.client
        finally:
            self.busy -= 1
            self.used = time.monotonic()


@dataclass
class ModelServer:
    """The one child of a studio.

    Args:
        folder: that it works in.
        program: what `serve` and its arguments are given to.
        idle: seconds without a request after which it ends.
    """

    folder: Path
    program: Sequence[str] = PROGRAM
    idle: float = IDLE_SECONDS
    _child: ServedChild | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def state(self, words: Sequence[str]) -> State:
        """Return how far the models that these words name are."""
        child = self._child
        if child is None or child.ended or child.words != tuple(words):
            return "stopped"
        return "ready" if child.settled.is_set() else "loading"

    async def ready(self, words: Sequence[str], language: Language = "en") -> ServedChild:
        """Return a child that serves what these words name; start it, with this language, if it is not there.

        Raises:
            RunError: it cannot serve that, with what it wrote.
        """
        async with self._lock:
            child = self._child
            if child is None or child.ended or child.words != tuple(words):
                await self._end()
                child = self._child = await self._start(tuple(words), language)
        await child.settled.wait()
        if not child.address or child.ended:
            said = [line.removeprefix("kamerton: ") for line in child.last if line]
            reason = "\n".join(said) or msg("it ended with status {status}", status=child.process.returncode or 0)
            remedy = msg("free some memory or mend the run, and try again")
            raise RunError(Fault(msg("the models cannot be loaded: {reason}", reason=reason), remedy=remedy))
        child.used = time.monotonic()
        return child

    async def stop(self) -> None:
        """End the child, if there is one."""
        async with self._lock:
            await self._end()

    async def _start(self, words: tuple[str, ...], language: Language) -> ServedChild:
        key = secrets.token_hex(24)
        process = await asyncio.create_subprocess_exec(
            *self.program,
            "serve",
            *words,
            "--port",
            "0",
            "--key-env",
            KEY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            cwd=self.folder,
            env={**clean_environment(), KEY: key, VARIABLE: language},
        )
        child = ServedChild(words, process, key)
        for work in (child.listen(), self._watch(child)):
            task = asyncio.create_task(work)
            self._tasks.add(task)  # else it may be collected before it is over
            task.add_done_callback(self._tasks.discard)
        return child

    async def _watch(self, child: ServedChild) -> None:
        """End a child that nobody uses."""
        while not child.ended:
            left = child.used + self.idle - time.monotonic()
            if left <= 0 and not child.busy and child.settled.is_set():
                async with self._lock:
                    if self._child is child:
                        await self._end()
                return
            await asyncio.sleep(max(left, self.idle / 10))

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None or child.ended:
            return
        assert child.process.stdin
        child.process.stdin.close()
        with suppress(ProcessLookupError):
            try:
                await asyncio.wait_for(child.process.wait(), END_SECONDS)
            except TimeoutError:
                child.process.kill()


def words_for(run: Path, other: Path | None) -> tuple[str, ...]:
    """Return the words of `kamerton serve` for a run beside another one, or beside its base."""
    return (f"tuned={run}", f"other={other}" if other else BASE)


async def models_of(child: ServedChild) -> Mapping[str, Any]:
    """Return what a child serves: `tuned`, and `beside` where there is something; each as `/v1/models` tells it."""
    async with child.in_use() as client:
        found = (await client.get("/v1/models")).raise_for_status().json()["data"]
    by_name = {one["id"]: one for one in found}
    base = next((one for one in found if one["task"] is None), None)
    beside = by_name.get("other") or (base if BASE in child.words else None)
    return {"tuned": by_name["tuned"], "beside": beside}
