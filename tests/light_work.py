"""Pieces of work that need no model, for the tests of what carries them out; workers import this file by its name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

from kamerton.core.errors import Fault, TrainingError
from kamerton.core.messages import msg
from kamerton.core.pieces import WorkItem
from kamerton.core.records import Progress, RunEvent


def base() -> int:
    """What all pieces share."""
    return 100


def add(shared: int, given: int) -> Generator[RunEvent, None, int]:
    """Add, the first pieces more slowly than the last."""
    for step in range(3):
        time.sleep(0.02 * (4 - given % 4))
        yield Progress(str(given), step, 3)
    return shared + given


def processes(shared: int, given: int) -> Generator[RunEvent, None, tuple[int, str]]:
    """Return which process this is, and how many threads it may use."""
    yield from ()
    time.sleep(0.2)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def fail(shared: int, given: int) -> Generator[RunEvent, None, int]:
    """Fail as users' runs do."""
    yield Progress("before", 0, 1)
    raise TrainingError(Fault(msg("rate {rate} is too high", rate=given), "train.learning_rate", msg("lower it")))


def die(shared: int, given: int) -> Generator[RunEvent, None, int]:
    """Be killed, as the system kills what takes too much memory."""
    yield Progress("before", 0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def wait(shared: int, given: Path) -> Generator[RunEvent, None, int]:
    """Work for a minute unless stopped; say in a file how far it is."""
    yield Progress("waiting", 0, 1)
    try:
        given.write_text("waits")
        time.sleep(60)
    except KeyboardInterrupt:
        given.write_text("stopped")
        raise
    return 0


def named(*given: object) -> list[WorkItem[object]]:
    return [WorkItem(msg("piece {name}", name=str(one)), one) for one in given]
