"""Ctrl-C in three phases: before anything is started, during a command, and while the process ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130
"""Exit status of what was stopped by Ctrl-C: 128 + SIGINT, as shells have it."""
QUICK = 1.0
"""Seconds in which further Ctrl-C count as the same one: they must not interrupt the clean-up."""
SOON = 0.05


def leave_at_once(message: str) -> None:
    """End the process at Ctrl-C with one line, without clean-up: nothing was started.

    While libraries are imported, an exception could be swallowed or turned into another one.
    """
    line = f"{message}\n".encode(errors="replace")

    def leave(_number: int, _frame: FrameType | None) -> None:
        os.write(2, line)
        os._exit(INTERRUPTED)

    _handle(leave)


def stop_properly() -> None:
    """Raise KeyboardInterrupt at Ctrl-C, once for all that come within a moment."""
    deaf_until = -float("inf")

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal deaf_until
        if time.monotonic() >= deaf_until:
            deaf_until = time.monotonic() + QUICK
            raise KeyboardInterrupt

    def again(unraisable: sys.UnraisableHookArgs) -> None:
        nonlocal deaf_until
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
            return
        deaf_until = -float("inf")  # a destructor swallowed it: ask again when that is over
        # a signal, for `_thread.interrupt_main` would let a system call go on that is waiting
        again_soon = threading.Timer(SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        again_soon.daemon = True
        again_soon.start()

    sys.unraisablehook = again
    _handle(stop)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C while the process ends."""
    _handle(signal.SIG_IGN)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Set what Ctrl-C does; where it is ignored already (a job in the background), or in a thread, nothing changes."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, handler)
