"""Lock files that end with the process that holds them, and say which one it is."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LENGTH = 96
"""Bytes of the record in a lock file, which is overwritten in place: whoever waits for the lock changes nothing."""
LINGER = 5.0
"""Seconds for which a lock is waited for that no running process is known to hold: one that was killed may have been
about to start another one, which ends a moment later and holds the lock until then."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine: the folder may be on a network drive."""
        return self.host == socket.gethostname()

    @property
    def has_ended(self) -> bool:
        """Whether it is known not to run any more."""
        return self.is_here and not is_running(self.pid)


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Hold a lock file, if no other process does; yield whether it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken_in_time(descriptor):
            yield False
            return
        _write(descriptor, f"{os.getpid()} {socket.gethostname()}")
        try:
            yield True
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> Holder | None:
    """Return the process that holds a lock file; None if none does.

    The lock itself is tried only where the file names a process that runs, so that nobody who takes it is disturbed.
    """
    try:
        with path.open("rb") as lock:
            holder = _recorded(lock.fileno())
            if holder is None or holder.has_ended:
                return None
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder
    except OSError:  # there is no such file
        return None
    return None


def is_running(pid: int) -> bool:
    """Return whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _taken_in_time(descriptor: int) -> bool:
    until = time.monotonic() + LINGER
    while not _taken(descriptor):
        holder = _recorded(descriptor)
        if (holder and not holder.has_ended) or time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _recorded(descriptor: int) -> Holder | None:
    """Return the process that a lock file names; None if it names none."""
    try:
        pid, host = os.pread(descriptor, LENGTH, 0).decode("ascii", "replace").split()
        return Holder(int(pid), host)
    except ValueError:
        return None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, record: str) -> None:
    with suppress(OSError):  # the disk is full: whoever asks then learns nothing of the holder
        os.pwrite(descriptor, record.encode("ascii", "replace")[: LENGTH - 1].ljust(LENGTH), 0)
