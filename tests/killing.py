"""Processes that are killed at one of their file operations, chosen by number."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link", "os.symlink")


def dies_at(number: int, work: Callable[[], object]) -> bool:
    """Run work in a fork that is killed just before its file operation of that number; return whether it was.

    Operations are Python's: opening a file to write, renaming, removing, making folders, changing permissions.
    """
    child = os.fork()
    if not child:
        _arm(number)
        try:
            work()
        except BaseException:  # noqa: BLE001  the parent asserts; a fork must never go on with the parent's tests
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed by itself"
    return os.WIFSIGNALED(status)


def _arm(number: int) -> None:
    left = number

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
