"""Ctrl-C and SIGTERM wait until the update is complete and can be saved; a second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interrupts:
    """Whether a stop was requested."""

    requested: bool = False


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """While active, record the first SIGINT or SIGTERM instead of stopping; only a main thread receives signals."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def record(_number: int, _frame: FrameType | None) -> None:
        interrupts.requested = True
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, record)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
