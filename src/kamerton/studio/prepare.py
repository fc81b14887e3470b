"""Preparations of runs: a child process looks at a file, and its parts are shown as soon as each is there.

.studio/prepared/ID/request.json   what is prepared
.studio/prepared/ID/parts.jsonl    the parts so far, which any server and any page reads
.studio/prepared/ID/lock           names the process at work
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from kamerton.core.children import own_environment
from kamerton.core.errors import Fault, KamertonError, RunError
from kamerton.core.files import remove, write_json
from kamerton.core.locks import holder_of
from kamerton.core.message_json import from_json, to_json
from kamerton.core.messages import msg
from kamerton.core.preparation import (
    LOCK,
    PARTS,
    REQUEST,
    Audited,
    Begun,
    Cleaned,
    Part,
    PreparationRequest,
    Recognized,
    Refused,
    RunChoices,
    ShownRows,
)
from kamerton.core.readers import parse_json
from kamerton.studio.queue import studio_folder

KINDS = (Begun, Cleaned, Recognized, ShownRows, Audited, RunChoices, Refused)
ADAPTERS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in KINDS}
ERRORS = "errors"
MOST_AT_ONCE = 2
"""Files that are looked at at the same time: each takes a model's memory."""
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Prepared:
    """What is known of a file so far."""

    request: PreparationRequest
    parts: tuple[Part, ...]
    working: bool
    error: str = ""
    """The last line of what a process printed that ended before it was done."""

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return not self.working

    @property
    def step(self) -> Begun | None:
        """What is being done; None if nothing is."""
        return self._last(Begun) if self.working else None

    @property
    def lost(self) -> bool:
        """Whether the work was stopped, or failed."""
        return self.done and not (self.choices or self.refused)

    @property
    def cleaned(self) -> Cleaned | None:
        """What became of the rows in a cleaned copy."""
        return self._last(Cleaned)

    @property
    def recognized(self) -> Recognized | None:
        """What the file was recognized as."""
        return self._last(Recognized)

    @property
    def shown(self) -> ShownRows | None:
        """The rows as the model gets them."""
        return self._last(ShownRows)

    @property
    def audited(self) -> Audited | None:
        """What the audit found."""
        return self._last(Audited)

    @property
    def choices(self) -> RunChoices | None:
        """The runs to choose from."""
        return self._last(RunChoices)

    @property
    def refused(self) -> Refused | None:
        """Why the file cannot be used."""
        return self._last(Refused)

    def _last(self, kind: type[Kind]) -> Kind | None:
        return next((part for part in reversed(self.parts) if isinstance(part, kind)), None)


@dataclass(frozen=True)
class Preparations:
    """The preparations of a workspace."""

    workspace: Path
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def folder(self, id: str) -> Path:
        """Return the folder of a preparation."""
        return self.workspace / ".studio" / "prepared" / id

    def begin(self, id: str, request: PreparationRequest) -> None:
        """Begin to prepare; what was known of the file before is forgotten.

        Raises:
            RunError: other files are being looked at, or this one is.
        """
        if self._at_work(id) or sum(map(self._at_work, list(self._children))) >= MOST_AT_ONCE:
            rule = msg("other files are being looked at, and each takes the memory of a model")
            raise RunError(Fault(rule, remedy=msg("wait until that is done, or stop it")))
        folder = studio_folder(self.workspace, "prepared") / id
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / PARTS).unlink(missing_ok=True)
        write_json(folder / REQUEST, to_json(request))
        with (folder / ERRORS).open("wb") as errors:
            self._children[id] = subprocess.Popen(
                [sys.executable, "-P", "-m", "kamerton.planning.preparation", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=own_environment(),
                start_new_session=True,
            )

    def stop(self, id: str) -> None:
        """End the work on a file, if there is any."""
        child, holder = self._children.get(id), holder_of(self.folder(id) / LOCK)
        pid = child.pid if child and child.poll() is None else holder.pid if holder and holder.is_here else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        if child:
            child.wait()

    def forget(self, id: str) -> None:
        """End the work on a file, and remove what is known of it."""
        self.stop(id)
        self._children.pop(id, None)
        remove(self.folder(id))

    def read(self, id: str) -> Prepared | None:
        """Return what is known of a file so far; None if it was never prepared."""
        folder = self.folder(id)
        working = self._at_work(id)  # before the parts are read, so that what comes meanwhile is not missed
        try:
            request = _request(folder / REQUEST)
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):
            parts = tuple(_parts(folder / PARTS))
            found = Prepared(request, parts, working and not isinstance(parts[-1:] and parts[-1], RunChoices | Refused))
            return replace(found, error=_last_line(folder / ERRORS)) if found.lost else found
        return Prepared(request, (), working, "" if working else _last_line(folder / ERRORS))

    def signature(self, id: str) -> object:
        """Return what changes when there is more to read."""
        with suppress(FileNotFoundError):
            return (self.folder(id) / PARTS).stat().st_size, self._at_work(id)
        return 0, self._at_work(id)

    def _at_work(self, id: str) -> bool:
        child = self._children.get(id)
        return (child is not None and child.poll() is None) or holder_of(self.folder(id) / LOCK) is not None


def _request(path: Path) -> PreparationRequest:
    return TypeAdapter(PreparationRequest).validate_python(from_json(parse_json(path.read_bytes(), path)))


def _parts(path: Path) -> Iterator[Part]:
    """Yield the parts of a file; the last line may not be whole yet, and damaged ones are passed over."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        with suppress(KamertonError, ValidationError, LookupError):
            record = from_json(parse_json(line, path))
            yield ADAPTERS[record.pop("part")].validate_python(record)


def _last_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
