"""Start and stop of the studio: its address, its link, and what a signal does."""

from __future__ import annotations

import os
import signal
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.i18n.language import Language
from kamerton.i18n.voice import voice
from kamerton.studio.app import make_app
from kamerton.studio.context import Studio
from kamerton.studio.guard import Session
from kamerton.studio.workspace import Workspace

HOST = "127.0.0.1"
BACKLOG = 128
LAST_SECONDS = 2
"""For answers that are under way when the studio ends."""
OWNER_ALONE = 0o077


@dataclass(frozen=True)
class StudioOptions:
    """What the command line says."""

    folder: Path = Path()
    port: int = 8400
    browser: bool = True
    """Whether to open the link in a browser."""
    language: Language = "en"


def serve(options: StudioOptions) -> None:
    """Show the studio until a signal comes; trainings go on without it.

    Raises:
        RunError: the folder cannot be used, or the port is taken.
    """
    os.umask(OWNER_ALONE)  # what people train on is nobody else's
    workspace = _workspace(options.folder)
    with _socket(options.port) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        studio = Studio(workspace, Session(workspace.session), options.language, address)
        studio.jobs.go_on()
        studio.uploads.clear()
        studio.listing.all()
        config = uvicorn.Config(
            make_app(studio), http="h11", ws="none", lifespan="off", log_config=None, log_level="critical",
            access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=LAST_SECONDS,
        )  # fmt: skip
        server = _Server(config, studio)
        listening.listen(BACKLOG)  # so that whoever reads the link may open it: uvicorn accepts a moment later
        link = studio.session.new_link(address)
        speaker = voice(options.language)
        told = msg("The studio of {folder}: open {link}", folder=str(workspace.folder), link=link)
        print(speaker.render(told), flush=True)
        if options.browser:
            webbrowser.open(link)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        server.run(sockets=[listening])
        for number, handler in before.items():
            signal.signal(number, handler)
        print(speaker.render(msg("The studio is closed; trainings go on.")), flush=True)


class _Server(uvicorn.Server):
    """Ends the streams when it ends: they would last as long as their pages are open."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self._studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at a signal, and do not raise it again: to stop the studio so is usual."""
        self._studio.stopping = True
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def _workspace(folder: Path) -> Workspace:
    try:
        return Workspace(folder)
    except OSError as error:
        rule = msg("the folder cannot be used: {reason}", reason=error.strerror or str(error))
        raise RunError(Fault(rule, str(folder), msg("name another one: kamerton studio FOLDER"))) from None


def _socket(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        rule = msg("the address cannot be used: {reason}", reason=error.strerror or str(error))
        remedy = msg("another studio may be running; --port 0 takes any port that is free")
        raise RunError(Fault(rule, f"{HOST}:{port}", remedy)) from None
    return listening
