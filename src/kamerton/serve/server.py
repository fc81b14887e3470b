"""Start and stop: the socket, the models, the threads, and what a signal does."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kamerton.core.errors import Fault, RecipeError, RunError
from kamerton.core.messages import msg, verbatim
from kamerton.i18n.language import Language
from kamerton.serve.abtest import AbTest
from kamerton.serve.app import make_app
from kamerton.serve.context import RequestLimits, ServerContext
from kamerton.serve.guard import LOOPBACK
from kamerton.serve.metrics import Metrics, log
from kamerton.serve.models import NAMED, open_models
from kamerton.serve.page import Page
from kamerton.serve.worker import Worker

SHORTEST_KEY = 16
"""Letters of a key: fewer can be tried out."""
HEADER_SECONDS, SWEEP_SECONDS = 10, 2
"""For a request's headers to arrive, and how often that is checked: uvicorn waits for ever."""
BACKLOG = 2048
"""Connections that wait to be accepted: uvicorn's own default."""
KEEP_ALIVE = 10
"""Seconds for which an idle connection stays open."""


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says."""

    runs: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    key_env: str | None = None
    device: str | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    ab: str | None = None
    share: float = 0.5
    outcomes: Path = Path("outcomes.jsonl")
    promote: bool = False
    log_prompts: bool = False
    language: Language = "en"
    base: bool = False
    """Whether the base of every run that writes is served, too."""


def serve(options: ServeOptions) -> bool:
    """Serve until a signal comes; what was asked before is answered first. Return False if the models' thread died.

    Raises:
        KamertonError: a run cannot be served, the key is missing or too short, or the address cannot be used.
    """
    local = _is_local(options.host)
    key = _key(options, local)
    arms = _arms(options.ab)
    with _socket(options) as listening:
        models = open_models([*options.runs, *arms], options.device, options.base)
        metrics = Metrics()
        ab = None
        if arms:
            first, second = ((NAMED.fullmatch(arm) or [""] * 2)[1] for arm in arms)
            ab = AbTest(first, second, options.share, options.outcomes, options.promote)
        died: list[bool] = []

        def end() -> None:
            died.append(True)
            server.should_exit = True

        worker = Worker(models.values(), options.limits.waiting, metrics, end)
        context = ServerContext(models, worker, metrics, options.limits, ab, options.log_prompts)
        app = make_app(context, Page(options.language), key, local)
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(options.limits.seconds) + 1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        config.callback_notify, config.timeout_notify = _Sweep(server), SWEEP_SECONDS
        worker.start()
        before = signal.signal(signal.SIGTERM, _note_signal)  # uvicorn raises the signal again once it has drained
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{listening.getsockname()[1]}"
        listening.listen(BACKLOG)  # so that whoever reads the log may connect: uvicorn begins to accept a moment later
        log("ready", {"address": address, "models": [*models], "pid": os.getpid()})
        try:
            server.run(sockets=[listening])
        finally:
            if not died:
                worker.stop()
            signal.signal(signal.SIGTERM, before)
            log("stopped")
    return not died


def _note_signal(number: int, _: object) -> None:
    """Log a signal that has ended the server; the process then ends by itself, with status 0."""
    log("drained", {"signal": signal.Signals(number).name})


def _is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK


def _key(options: ServeOptions, local: bool) -> str:
    """Return the key that requests must have, from the environment; none is needed on this machine alone."""
    if options.key_env is None:
        if local:
            return ""
        rule = msg("whoever reaches {host} could use the server, so it needs a key", host=options.host)
        remedy = msg("put a long random key into an environment variable, and name that: --key-env KAMERTON_KEY")
        raise RecipeError(Fault(rule, "--host", remedy))
    key = os.environ.get(options.key_env, "").strip()
    if len(key) >= SHORTEST_KEY and key.isascii() and key.isprintable():
        return key
    rule = msg(
        "the environment variable {variable} must hold a key of {least} printable ASCII {least:sign|signs} or more",
        variable=options.key_env,
        least=SHORTEST_KEY,
    )
    raise RecipeError(Fault(rule, "--key-env", verbatim(f"export {options.key_env}=$(openssl rand -hex 24)")))


def _arms(text: str | None) -> tuple[str, ...]:
    """Parse `new=RUN,old=RUN`."""
    if text is None:
        return ()
    arms = tuple(text.split(","))
    names = [found[1] for arm in arms if (found := NAMED.fullmatch(arm))]
    if len(names) != 2 or len(arms) != 2 or len(set(names)) != 2:
        raise RecipeError(Fault(msg("takes two arms: new=RUN,old=RUN"), "--ab"))
    return arms


def _socket(options: ServeOptions) -> socket.socket:
    """Listen before the models are loaded, so that an address that is taken is told at once."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # named, or asyncio leaves Nagle's algorithm on, which delays an answer's body by 40 ms behind its head
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
    except (OSError, UnicodeError) as error:
        listening.close()
        place = f"{options.host}:{options.port}"
        rule = msg("the address cannot be used: {reason}", reason=str(error))
        raise RunError(Fault(rule, place, msg("choose another one: --port 0 takes any that is free"))) from None
    return listening


@dataclass
class _Sweep:
    """Closes connections on which no whole request arrives: a slow or silent client holds none for long."""

    server: uvicorn.Server
    _seen: dict[int, tuple[object, float]] = field(default_factory=dict)

    async def __call__(self) -> None:
        """Look at all connections; close those that have waited for too long."""
        now, waiting = time.monotonic(), dict[int, tuple[object, float]]()
        connections = cast("list[H11Protocol]", self.server.server_state.connections)
        for connection in connections:
            cycle = connection.cycle
            if cycle is not None and not cycle.response_complete:
                continue
            last, since = self._seen.get(id(connection), (cycle, now))
            since = since if last is cycle else now
            waiting[id(connection)] = cycle, since
            if now - since >= HEADER_SECONDS:
                connection.transport.close()
        self._seen = waiting
