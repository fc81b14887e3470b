"""Lock files that end with the process that holds them, and say which one it is."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LENGTH = 96
"""Bytes of the record in a lock file, which is overwritten in place: whoever waits for the lock changes nothing."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine: the folder may be on a network drive."""
        return self.host == socket.gethostname()


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Hold a lock file, if no other process does; yield whether it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken(descriptor):
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
            pid, host = lock.read(LENGTH).decode("ascii", "replace").split()
            holder = Holder(int(pid), host)
            if holder.is_here and not is_running(holder.pid):
                return None
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder
    except (OSError, ValueError):  # there is no such file, or nobody has left a record
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


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, record: str) -> None:
    with suppress(OSError):  # the disk is full: whoever asks then learns nothing of the holder
        os.pwrite(descriptor, record.encode("ascii", "replace")[: LENGTH - 1].ljust(LENGTH), 0)
