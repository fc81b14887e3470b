"""Commands that people start from the studio's pages: processes that outlive it, several at a time.

    .studio/commands/ID/command.json   what was started, for which run
                       /lock           held by the process that waits for it
                       /out, /log      what it wrote: its result, and its messages
                       /end.json       how it ended

Trainings are carried out one after another by the queue; these begin at once.

python -P -m kamerton.studio.processes FOLDER    carries one out, in the background
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from kamerton.core.children import own_environment
from kamerton.core.errors import KamertonError
from kamerton.core.files import appearing, write_json
from kamerton.core.locks import holder_of, holding
from kamerton.core.readers import read_object
from kamerton.studio.jobs import STOPPED
from kamerton.studio.queue import studio_folder

FOLDER, RECORD, LOCK, OUT, LOG, END = "commands", "command.json", "lock", "out", "log", "end.json"
PATIENCE, POLL = 10.0, 0.01
"""Seconds that a process has to take its lock, and between two looks."""
SHOWN_BYTES = 1 << 16
"""Of a log: its end."""
TERMINATED = -signal.SIGTERM, 128 + signal.SIGTERM
CommandState = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class StartedCommand:
    """A command that was started."""

    id: str
    run: str
    word: str
    """Which one of the table."""
    arguments: tuple[str, ...]
    """Of Python behind `-m`."""
    began: float
    """Seconds since 1970."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What its page shows of it: a port, the name of a new run."""


RECORDS = TypeAdapter(StartedCommand)


@dataclass(frozen=True)
class Commands:
    """The commands of a workspace."""

    workspace: Path

    @property
    def folder(self) -> Path:
        """Where they are."""
        return studio_folder(self.workspace, FOLDER)

    def start(
        self,
        run: str,
        word: str,
        arguments: Callable[[Path], Sequence[str]],
        about: Mapping[str, str] = {},
        secrets_of: Mapping[str, str] = {},
    ) -> StartedCommand:
        """Start a command; it has left this process when this returns.

        Args:
            run: the name of the run.
            word: which command of the table.
            arguments: returns those of Python behind `-m`, given the command's own folder.
            about: what its page shows of it.
            secrets_of: environment variables that only the process gets.
        """
        id = f"{time.time_ns():x}-{secrets.token_hex(4)}"
        place = self.folder / id
        started = StartedCommand(id, run, word, tuple(arguments(place)), time.time(), about)
        with appearing(place) as folder:
            folder.mkdir(mode=0o700)
            write_json(folder / RECORD, asdict(started))
        subprocess.run(
            [sys.executable, "-P", "-m", "kamerton.studio.processes", str(place)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.workspace,
            env={**own_environment(), **secrets_of},
            check=True,
        )
        return started

    def all(self, run: str) -> list[StartedCommand]:
        """Return the commands of a run, the last one first."""
        ids = sorted((place.name for place in self.folder.iterdir() if not place.name.startswith(".")), reverse=True)
        return [one for id in ids if (one := self.find(run, id))]

    def find(self, run: str, id: str) -> StartedCommand | None:
        """Return a command of a run; None if there is none of this id."""
        if id not in {place.name for place in self.folder.iterdir()}:
            return None
        try:
            one = RECORDS.validate_python(read_object(self.folder / id / RECORD))
        except (KamertonError, FileNotFoundError, ValidationError):
            return None  # it was removed, or damaged by hand
        return one if one.run == run else None

    def state(self, command: StartedCommand) -> CommandState:
        """Return how far a command is."""
        place = self.folder / command.id
        if holder_of(place / LOCK):
            return "running"
        if not (place / END).exists():
            return "stopped"  # nobody saw its end: the machine was switched off
        status = read_object(place / END)["status"]
        return "done" if status == 0 else "stopped" if status in (*STOPPED, *TERMINATED) else "failed"

    def stop(self, command: StartedCommand) -> None:
        """Stop a command as Ctrl-C does; it may need a moment."""
        if holder := holder_of(self.folder / command.id / LOCK):
            with suppress(ProcessLookupError):
                os.killpg(holder.pid, signal.SIGINT)

    def told(self, command: StartedCommand, name: str) -> str:
        """Return the end of what a command wrote: `OUT`, or `LOG`."""
        path = self.folder / command.id / name
        if not path.exists():
            return ""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - SHOWN_BYTES))
            return file.read().decode(errors="replace")

    def file(self, command: StartedCommand, name: str) -> Path:
        """Return the place of a file that a command makes in its own folder."""
        return self.folder / command.id / name


def main() -> None:
    """Leave the parent process, and carry out the command of a folder."""
    place = Path(sys.argv[1])
    if os.fork():
        end = time.monotonic() + PATIENCE
        while holder_of(place / LOCK) is None and not (place / END).exists() and time.monotonic() < end:
            time.sleep(POLL)  # so that nobody who asks now takes it for one that was lost
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # for the command; a handler is not inherited, ignoring would be
        signal.signal(number, lambda _number, _frame: None)
    with holding(place / LOCK) as held:
        if held:
            status = _carry_out(place)
            write_json(place / END, {"status": status, "ended": time.time()})


def _carry_out(place: Path) -> int:
    words = read_object(place / RECORD)["arguments"]
    with (place / OUT).open("wb") as out, (place / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=log
        )
        return process.wait()


if __name__ == "__main__":
    main()
