"""A run at an address: its folder here is what commands work on, and each of its states appears there as a whole.

    ADDRESS/objects/SHA256      contents, written once
    ADDRESS/states/00000012.json   names, sizes and checksums of one state, sealed

Object stores have no rename, and some write a file piece by piece. So nothing is ever written over: a state's file
comes after all of its contents, and readers take the last one whose seal is right. Contents that neither of the last
two states names are removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import BAD_JSON, appearing, cache_folder, remove, write_json
from kamerton.core.locks import holding
from kamerton.core.messages import msg
from kamerton.core.readers import read_object
from kamerton.core.storage import Storage
from kamerton.runs.changes import LOCK, LOGS, MANIFEST, Checksum, read_manifest, seal
from kamerton.runs.logs import whole_lines

MARK = ".mirror.json"
"""In a folder whose run is at an address: the address, and the last state that is there."""
STATES, OBJECTS = "states", "objects"
INNER = ("seeds", "remedies")
READINGS = 5
"""How often a state is read again if the writer removed it meanwhile."""


@dataclass(frozen=True)
class MirrorState:
    """A state of a run as it is at an address."""

    number: int
    writer: str
    """The folder that wrote it: a random name."""
    files: Mapping[str, Checksum]

    def to_bytes(self) -> bytes:
        """Write it as sealed JSON."""
        files = {name: vars(one) for name, one in sorted(self.files.items())}
        value = {"schema": 1, "number": self.number, "writer": self.writer, "files": files}
        return json.dumps({**value, "seal": seal(value)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> MirrorState | None:
        """Parse it; None if it is damaged, or was not written to its end."""
        try:
            value = json.loads(data)
            if value.pop("seal") != seal(value):
                return None
            files = {name: Checksum(**one) for name, one in value["files"].items()}
        except (*BAD_JSON, AttributeError, KeyError, TypeError):
            return None
        return cls(value["number"], value["writer"], files) if all(map(_is_inside, files)) else None


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/")


def newest_state(storage: Storage) -> MirrorState | None:
    """Read the last whole state at an address; None if there is none."""
    for name in reversed(storage.names(STATES)):
        if state := MirrorState.from_bytes(storage.read(name)):
            return state
    return None


# ── writing ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Mirror:
    """The address of the run in a folder."""

    folder: Path
    address: str
    writer: str
    number: int
    hashed: dict[Path, tuple[tuple[int, int], Checksum]] = field(default_factory=dict)
    """Checksum of each file as it was when it had this time and size."""

    @classmethod
    def of(cls, folder: Path) -> Mirror | None:
        """Return the mirror of a run's folder; None if it has none."""
        mark = folder / MARK
        return cls(folder, **read_object(mark)) if mark.exists() else None

    def note(self, number: int) -> None:
        """Keep the number of the last state that is at the address."""
        self.number = number
        write_json(self.folder / MARK, {"address": self.address, "writer": self.writer, "number": number})

    def push(self) -> None:
        """Write the run's state to its address, if it is another than the last one there.

        Raises:
            RunError: the storage refuses, or another process has written there; the run here is whole.
        """
        storage = Storage.at(self.address)
        try:
            last = newest_state(storage)
            self._require_own(last)
            files = {name: self._checksum(self.folder / name) for name in self._names()}
            kept = last.files if last else {}
            files |= {name: one for name, one in kept.items() if self._is_busy(name)}
            if last and files == kept:
                return
            stored = {one.sha256 for one in kept.values()}
            for name, one in files.items():
                if one.sha256 not in stored:
                    self._upload(storage, name, one)
                    stored.add(one.sha256)
            state = MirrorState(self.number + 1, self.writer, files)
            storage.write(f"{STATES}/{state.number:08d}.json", state.to_bytes())
        except RunError as error:
            remedy = msg("the run is whole in {folder}; `kamerton resume {address}` goes on", **self._named())
            raise RunError([Fault(one.rule, one.place, remedy) for one in error.faults]) from error
        self.note(state.number)
        self._prune(storage, [one for one in (last, state) if one])

    def _named(self) -> dict[str, str]:
        return {"folder": str(self.folder), "address": self.address}

    def _require_own(self, last: MirrorState | None) -> None:
        """Check that the last state at the address is known here; take over one whose number a kill kept from here."""
        if last and last.writer == self.writer and last.number == self.number + 1:
            self.note(last.number)
        if (last.number if last else 0) != self.number:
            rule = msg("another process has written this run at its address")
            raise RunError(Fault(rule, self.address))

    def _names(self) -> Iterator[str]:
        """Yield the files of the last commits, of checkpoints and of logs, in this run and in those inside."""
        yield from _committed(self.folder, "")
        for kind in INNER:
            for folder in sorted((self.folder / kind).glob("*")):
                with _free(folder) as free:
                    if free:
                        yield from _committed(folder, f"{kind}/{folder.name}/")

    def _is_busy(self, name: str) -> bool:
        """Return whether a file is of a run inside that is being worked on: its last state stays."""
        parts = PurePosixPath(name).parts
        if parts[0] not in INNER or len(parts) < 3:
            return False
        with _free(self.folder / parts[0] / parts[1]) as free:
            return not free

    def _checksum(self, path: Path) -> Checksum:
        if path.name in LOGS:
            return Checksum.of(whole_lines(path))
        about = path.stat()
        when = about.st_mtime_ns, about.st_size
        if self.hashed.get(path, ((0, 0), None))[0] != when:
            self.hashed[path] = when, Checksum.of_file(path)
        return self.hashed[path][1]

    def _upload(self, storage: Storage, name: str, checksum: Checksum) -> None:
        target = f"{OBJECTS}/{checksum.sha256}"
        if PurePosixPath(name).name in LOGS:
            storage.write(target, whole_lines(self.folder / name)[: checksum.size])
        else:
            storage.put(self.folder / name, target)

    def _prune(self, storage: Storage, states: list[MirrorState]) -> None:
        """Remove older states, then the contents that only they named."""
        named = {f"{STATES}/{one.number:08d}.json" for one in states}
        named |= {f"{OBJECTS}/{file.sha256}" for one in states for file in one.files.values()}
        for folder in (STATES, OBJECTS):
            for name in storage.names(folder):
                if name not in named:
                    storage.remove(name)


def _committed(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the names of a run's files, after the last commit ended."""
    if not (folder / MANIFEST).exists():
        return
    checkpoints = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("checkpoints/step-*/*"))]
    for name in (MANIFEST, *read_manifest(folder / MANIFEST)["files"], *LOGS, *checkpoints):
        if (folder / name).exists():
            yield prefix + name


@contextmanager
def _free(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's folder, if no process works on it; yield whether it is held."""
    if not (folder / LOCK).exists():
        yield True
        return
    with holding(folder / LOCK) as held:
        yield held


# ── reading ───────────────────────────────────────────────────────────────────────────────────


def local_folder(address: str, *, new: bool = False) -> Path:
    """Return the folder here of the run at an address, as its last state is there; made if the run is to be new.

    A folder that a process works on, or that is ahead of the address, is returned as it is.

    Raises:
        RunError: there is no run, or no state of it is whole.
    """
    name = address.rpartition("/")[2] or "run"
    folder = cache_folder() / "runs" / f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _free(folder) as free:
            if free:
                _refresh(folder, address, new=new)
    return folder


def _refresh(folder: Path, address: str, *, new: bool) -> None:
    storage, mirror = Storage.at(address), Mirror.of(folder)
    state = newest_state(storage)
    if state is None:
        if not new:
            rule = msg("there is no run at this address")
            raise RunError(Fault(rule, address, msg("name one that `kamerton tune … --out ADDRESS` made")))
        if storage.names():
            rule = msg("the run's address must be new or empty; this one holds other objects")
            raise RunError(Fault(rule, address, msg("choose another one with --out; nothing was changed")))
        remove(folder)
        folder.mkdir(mode=0o700)
        Mirror(folder, address, uuid.uuid4().hex, 0).note(0)
    elif mirror is None or not (state.number == mirror.number or state.writer == mirror.writer):
        _download(storage, folder, mirror.writer if mirror else uuid.uuid4().hex)


def _download(storage: Storage, folder: Path, writer: str) -> None:
    """Download the last state into a folder, which appears whole; what is here already is not downloaded again."""
    for _ in range(READINGS):
        state = newest_state(storage)
        if state is None:
            break
        try:
            with appearing(folder.with_name(f"{folder.name}.new")) as made:
                made.mkdir(mode=0o700)
                for name, checksum in state.files.items():
                    _take(storage, folder / name, made / name, checksum)
                Mirror(made, storage.address, writer, 0).note(state.number)
        except FileNotFoundError:  # the writer removed it: there is a newer state
            continue
        remove(folder)
        folder.with_name(f"{folder.name}.new").rename(folder)
        return
    raise RunError(Fault(msg("no whole state of the run could be read"), storage.address, msg("try again")))


def _take(storage: Storage, here: Path, target: Path, checksum: Checksum) -> None:
    """Put a file in its place: the one that is here, if it has the checksum, or the one at the address.

    Raises:
        RunError: the one at the address is damaged.
        FileNotFoundError: it is not there any more.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if here.is_file() and here.stat().st_size == checksum.size and Checksum.of_file(here) == checksum:
        shutil.copyfile(here, target)
        target.chmod(0o600)
        return
    name = f"{OBJECTS}/{checksum.sha256}"
    storage.get(name, target)
    if Checksum.of_file(target) != checksum:
        rule = msg("the object is not what the run wrote: it was damaged or changed")
        raise RunError(Fault(rule, f"{storage.address}/{name}", msg("restore it from a copy of the run")))
