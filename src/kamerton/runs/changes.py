"""Files of a run: several are changed in one commit, and each is read with its checksum checked.

A change is prepared in `.change.tmp`, every file synced, with the run's new manifest: size and sha256 of every file.
Renaming the folder to `.change` commits the change: from then on readers take the files there. It ends by moving them
to their places, the manifest last. A stop before the rename leaves the run as it was; after it, the next process that
holds the run's lock ends the change.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, mode_of, sha256_of, shell_word, sync
from kamerton.core.locks import Holder, holder_of, holding
from kamerton.core.messages import Message, msg
from kamerton.core.readers import read_object
from kamerton.runs.logs import has_checksums, read_lines, whole_lines

MANIFEST = "MANIFEST.json"
LOCK = ".lock"
COMMITTED, PREPARED = ".change", ".change.tmp"
REPLACED = ".replaced"
"""Inside a committed change: a folder that was replaced, until it is removed."""
REPLIES, TUNED_REPLIES = "endpoint.jsonl", "tuned.jsonl"
LOGS = ("events.jsonl", REPLIES, TUNED_REPLIES)
"""Files that grow; each of their lines has a checksum of its own, and the manifest that of what was there."""
UNLISTED = {*LOGS, "cache", "checkpoints", "exported", "remedies", "seeds"}
"""Files and folders of a run with checksums of their own."""
READINGS = 5
"""How often a file is read again if another process changes the run meanwhile."""
RESTORE = msg("restore the file from a copy; without it nothing shows whether the run's files are intact")
MADE_ANEW = ("calibration.json", "forgetting.json", "result.json")
PAGES = (".html", ".md")
"""Files, and endings of files, that a resumed run writes anew if they were deleted."""


@dataclass(frozen=True)
class Checksum:
    """What a file of a run was when it was written."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Checksum:
        """Compute the checksum of bytes."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Checksum:
        """Compute the checksum of a file without holding it."""
        return cls(path.stat().st_size, sha256_of(path))


class RunFiles:
    """The files of one run folder.

    Args:
        folder: of the run.
        mode: permissions of new files, by default those of its manifest; folders get 0700.
    """

    def __init__(self, folder: Path, mode: int | None = None) -> None:
        self.folder = folder
        self.mode = mode_of(str(folder / MANIFEST)) if mode is None else mode
        self.open: RunChange | None = None
        """The change that is being prepared in this process."""
        self.held = False
        """Whether this process holds the lock of the folder."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and end what a stop left half done; the lock ends with the process.

        Raises:
            RunError: another process holds it.
        """
        if self.held:
            yield
            return
        with holding(self.folder / LOCK) as held:
            if not held:
                rule = msg("another process is at work on '{folder}'", folder=str(self.folder))
                raise RunError(Fault(rule, remedy=msg("wait for it, or stop it")))
            self.held = True
            try:
                self._finish()
                yield
            finally:
                self.held = False

    @property
    def holder(self) -> Holder | None:
        """The process that holds the lock of the folder; None if none does."""
        return holder_of(self.folder / LOCK)

    def place(self, name: str) -> Path:
        """Return where a file or folder of the run is now: in a change, or in its own place."""
        prepared = (self.open.folder, self.open.moved) if self.open else (self.folder, ())
        for folder, moved in (prepared, (self.folder / COMMITTED, self._committed().get("moved", ()))):
            if any(_within(name, one) for one in moved) and (folder / name).exists():
                return folder / name
        return self.folder / name

    def exists(self, name: str) -> bool:
        """Return whether the run has a file or folder."""
        removed = self.open.removed if self.open else self._committed().get("removed", ())
        return name not in removed and self.place(name).exists()

    @property
    def checksums(self) -> dict[str, Checksum]:
        """Name to checksum of every file; empty for a run that was made before runs had a manifest.

        Raises:
            RunError: the manifest is damaged.
        """
        return {name: Checksum(**one) for name, one in self._last().get("files", {}).items()}

    @property
    def version(self) -> str:
        """The seal of the last manifest, another one after every commit; empty for a run that has none."""
        last = self._last()
        return seal(last) if last else ""

    def _last(self) -> Mapping[str, Any]:
        """Return the manifest of the last commit."""
        committed = self.folder / COMMITTED / MANIFEST
        path = committed if committed.exists() else self.folder / MANIFEST
        return read_manifest(path) if path.exists() else {}

    def read(self, name: str) -> bytes:
        """Read a file, and check it against its checksum.

        Raises:
            RunError: it is damaged, or not the run's.
            FileNotFoundError: the run has no such file.
        """
        for _ in range(READINGS):
            known = self.checksums
            with suppress(FileNotFoundError):
                data = self.place(name).read_bytes()
                if not known or known.get(name) == Checksum.of(data) or self._is_new(name):
                    return data
            if known == self.checksums:  # else another process changed the run meanwhile
                break
        if name not in known and not self.place(name).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder / name))
        raise RunError(self._blamed([damage(self.folder, name) if name in known else foreign(self.folder, name)]))

    def log(self, name: str) -> Path:
        """Return the place of a log, which may not be there.

        Raises:
            RunError: it does not begin as at the last commit.
        """
        for _ in range(READINGS):
            known, place = self._last().get("logged", {}).get(name), self.place(name)
            if known is None or self._is_new(name) or _begins(place, Checksum(**known)):
                return place
            if known == self._last().get("logged", {}).get(name):  # else another process changed the run meanwhile
                break
        raise RunError(self._blamed([damage(self.folder, name)]))

    def check(self, *names: str) -> None:
        """Check files and whole folders against their checksums.

        Raises:
            RunError: with every file that is damaged, missing, or not the run's.
        """
        if faults := self.damaged(names):
            raise RunError(faults)

    def damaged(self, names: Iterable[str] = ("",)) -> list[Fault]:
        """Return a fault for each file that differs from its checksum; for folders also files that are not the run's.

        Args:
            names: of files and folders; by default everything that has a checksum.
        """
        known = self.checksums
        wanted = {one for one in known for name in names if not name or one == name or one.startswith(f"{name}/")}
        faults = [damage(self.folder, name) for name in sorted(wanted) if not self._intact(name, known[name])]
        for name in names:
            place = self.place(name)
            if known and name and place.is_dir():
                found = {f"{name}/{path.relative_to(place).as_posix()}" for path in place.rglob("*") if path.is_file()}
                faults += [foreign(self.folder, one) for one in sorted(found - known.keys())]
        return self._blamed(faults) if faults else []

    def damaged_logs(self) -> list[Fault]:
        """Return a fault for each line of a log that is damaged, and for a log that lacks what a commit counted."""
        faults = list[Fault]()
        for name in filter(self.exists, LOGS):
            try:
                read_lines(self.log(name))
            except RunError as error:
                faults += error.faults
        return faults

    def lost_list(self) -> list[Fault]:
        """Return the fault of a missing list of checksums; none where the run was made before runs had one."""
        if self.checksums or not any(has_checksums(self.folder / name) for name in LOGS):
            return []
        return [Fault(msg("the run's list of checksums is missing"), str(self.folder / MANIFEST), RESTORE)]

    def _blamed(self, faults: list[Fault]) -> list[Fault]:
        """Put the list of checksums before its files' faults where most files that are there differ from it."""
        there = {name: one for name, one in self.checksums.items() if self.place(name).is_file()}
        differing = sum(not self._intact(name, one) for name, one in there.items())
        if 2 * differing <= len(there):
            return faults
        rule = msg("{files} of the {all} files in this list differ from it: it seems to be another run's",
                   files=differing, all=len(there))  # fmt: skip
        return [Fault(rule, str(self.folder / MANIFEST), msg("restore it from a copy of the run")), *faults]

    @contextmanager
    def changing(self) -> Iterator[RunChange]:
        """Prepare a change, and commit it at the end; within another one it becomes a part of that.

        Raises:
            OSError: it cannot be written; the run is as it was.
        """
        if self.open:
            yield self.open
            return
        with Writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.locked():
                self.open = RunChange(self.folder / PREPARED, self.mode)
                try:
                    self.open.folder.mkdir(mode=0o700)
                    yield self.open
                    self._commit(self.open)
                finally:
                    self.open = None
                    shutil.rmtree(self.folder / PREPARED, ignore_errors=True)  # half a change is of no use
                self._finish()

    def _finish(self) -> None:
        """End a committed change, and remove what a stop left of one that was not, and of files half written."""
        for left in self.folder.glob(".*.tmp"):
            _remove(left)
        change = self.folder / COMMITTED
        if (change / MANIFEST).exists():
            manifest = read_manifest(change / MANIFEST)
            if all((change / name).exists() for name in manifest["moved"]):  # else a stop came after the removals
                for name in manifest["removed"]:
                    _remove(self.folder / name)
            for name in manifest["moved"]:
                _move(change / name, self.folder / name, change / REPLACED)
            sync(self.folder)
            (change / MANIFEST).replace(self.folder / MANIFEST)
            sync(self.folder)
        shutil.rmtree(change, ignore_errors=True)

    def _commit(self, change: RunChange) -> None:
        moved = sorted(name for name in change.moved if (change.folder / name).exists())
        gone = [*moved, *change.removed]
        files = {name: one for name, one in self._before().items() if not any(_within(name, item) for item in gone)}
        for path in sorted(change.folder.rglob("*")):
            path.chmod(0o700 if path.is_dir() else self.mode)
            if path.is_file():
                sync(path)
                files[path.relative_to(change.folder).as_posix()] = Checksum.of_file(path)
        known = {name: vars(one) for name, one in sorted(files.items()) if name not in LOGS}
        logged = {name: vars(Checksum.of(whole_lines(self.log(name)))) for name in LOGS if self.exists(name)}
        manifest = {"schema": 1, "moved": moved, "removed": sorted(change.removed), "files": known, "logged": logged}
        text = json.dumps({**manifest, "seal": seal(manifest)}, indent=1, ensure_ascii=False) + "\n"
        place = change.folder / MANIFEST
        place.write_text(text, encoding="utf-8")
        place.chmod(self.mode)
        for path in (place, *(one for one in change.folder.rglob("*") if one.is_dir()), change.folder):
            sync(path)
        change.folder.rename(self.folder / COMMITTED)
        sync(self.folder)

    def _before(self) -> dict[str, Checksum]:
        """Return the checksums before a change; computed now for a run that was made before runs had a manifest."""
        if (self.folder / MANIFEST).exists():
            return self.checksums
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        names = {path.relative_to(self.folder).as_posix(): path for path in files}
        return {
            name: Checksum.of_file(path)
            for name, path in names.items()
            if name.partition("/")[0] not in UNLISTED and not name.startswith(".")
        }

    def _committed(self) -> Mapping[str, Any]:
        path = self.folder / COMMITTED / MANIFEST
        return read_manifest(path) if path.exists() else {}

    def _is_new(self, name: str) -> bool:
        """Return whether the change that is being prepared wrote a file."""
        return self.open is not None and (self.open.folder / name).exists()

    def _intact(self, name: str, known: Checksum) -> bool:
        path = self.place(name)
        return self._is_new(name) or (path.is_file() and Checksum.of_file(path) == known)


class RunChange:
    """A change that is being prepared."""

    def __init__(self, folder: Path, mode: int) -> None:
        self.folder, self.mode = folder, mode
        self.moved: set[str] = set()
        self.removed: set[str] = set()

    def path(self, name: str) -> Path:
        """Return where to write a file or folder, which replaces the run's own as a whole."""
        self.moved.add(name)
        self.removed.discard(name)
        path = self.folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        self.path(name).write_bytes(data)

    def remove(self, name: str) -> None:
        """Remove a file or folder."""
        _remove(self.folder / name)
        self.moved.discard(name)
        self.removed.add(name)


def _begins(log: Path, known: Checksum) -> bool:
    """Return whether a log begins with what was in it at a commit."""
    if not log.exists():
        return False
    with log.open("rb") as file:
        return Checksum.of(file.read(known.size)) == known


def is_made_anew(name: str) -> bool:
    """Return whether a resumed run writes a file anew if it was deleted."""
    return name in MADE_ANEW or name.endswith(PAGES)


def made_anew(run: Path) -> Message:
    """Return the remedy for a file that a resumed run writes anew."""
    return msg("delete it, and `kamerton resume {run}` writes it anew", run=shell_word(run))


def damage(run: Path, name: str) -> Fault:
    """Return the fault of a file that is missing, or not what the run wrote."""
    missing, edited = msg("the file is missing"), msg("the file is not what the run wrote: it was damaged or edited")
    restore = msg("restore it from a copy of the run, or start a new run with `kamerton tune`")
    rule = edited if (run / name).exists() else missing
    return Fault(rule, str(run / name), made_anew(run) if is_made_anew(name) else restore)


def foreign(run: Path, name: str) -> Fault:
    """Return the fault of a file that the run did not write, in a folder that is loaded as a whole."""
    return Fault(msg("the run did not write this file"), str(run / name), msg("move it out of the run's folder"))


def seal(manifest: Mapping[str, Any]) -> str:
    """Hash a manifest's own content."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check its seal.

    Raises:
        RunError: it is damaged.
    """
    manifest = read_object(path, RunError, RESTORE)
    if manifest.pop("seal", None) != seal(manifest):
        raise RunError(Fault(msg("the run's list of checksums is damaged"), str(path), RESTORE))
    return manifest


def _within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _move(new: Path, target: Path, replaced: Path) -> None:
    """Move a file or folder to its place; do nothing where a stop came after it."""
    if not new.exists():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    new.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
