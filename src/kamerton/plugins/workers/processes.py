"""Do pieces of work in processes on this machine."""

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from kamerton.core.children import clean_environment
from kamerton.core.errors import Fault, RecipeError
from kamerton.core.messages import msg
from kamerton.core.pieces import Done, Failed, Finished, Given, InOrder, Shared, Value, WorkItem, Workload, lost
from kamerton.core.records import RunEvent
from kamerton.kernels.device import cards_here

GRACE = 60.0
"""Seconds in which a worker may end its update and save a checkpoint."""


class Processes:
    """`--on processes:4`: four processes on this machine, each with cores, and with a card, of its own.

    Without a number: one for each card, or where there is none, one for each core. They start with the first pieces,
    and stay until the command ends.
    """

    def __init__(self, count: int, cores: int, cards: Sequence[str] = ()) -> None:
        self.count, self.cores, self.cards = count, cores, cards
        self._workers: list[_WorkerProcess] = []
        self._works = 0

    @classmethod
    def at(cls, place: str, cores: int) -> Self:
        """Return so many processes; every one of several cards is taken by one process.

        Raises:
            RecipeError: this is no number, or there are fewer cards.
        """
        cards = cards_here()
        if place and not (place.isdecimal() and int(place)):
            rule = msg("'{place}' is no number of processes", place=place)
            raise RecipeError(Fault(rule, "--on", msg("give a whole number above 0")))
        count = int(place) if place else len(cards) or max(1, len(os.sched_getaffinity(0)) // cores)
        if cards and count > len(cards):
            rule = msg("{count} processes need a card each, and {cards} are here", count=count, cards=len(cards))
            raise RecipeError(Fault(rule, "--on", msg("take at most {cards}", cards=len(cards))))
        return cls(count, cores, cards)

    def carry_out(
        self, work: Workload[Shared, Given, Value], pieces: Sequence[WorkItem[Given]]
    ) -> Iterator[RunEvent | Done[Given, Value]]:
        """Do pieces, as many at the same time as there are processes."""
        order, waiting = InOrder(pieces), deque(range(len(pieces)))
        busy: dict[Connection, tuple[_WorkerProcess, int]] = {}
        self._works += 1
        while len(self._workers) < min(self.count, len(pieces)):
            self._workers.append(_WorkerProcess(self.cores, self.cards[len(self._workers)] if self.cards else None))
        idle = deque(self._workers)
        try:
            while waiting or busy:
                while waiting and idle:
                    worker, number = idle.popleft(), waiting.popleft()
                    busy[worker.connection] = worker, number
                    worker.give(self._works, work, pieces[number].given)
                for connection in wait(list(busy)):
                    worker, number = busy[connection]  # type: ignore[index]  # a connection that was waited for
                    item = worker.take(pieces[number])
                    yield from order.take(number, item)
                    if worker.is_idle:
                        idle.append(busy.pop(worker.connection)[0])
        finally:
            if busy:
                self._stop()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


class _WorkerProcess:
    """A process, and the socket to it."""

    def __init__(self, cores: int, card: str | None) -> None:
        ours, theirs = socket.socketpair()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores))
        cards = {} if card is None else {"CUDA_VISIBLE_DEVICES": card}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kamerton.core.worker"],
                stdin=theirs.fileno(),
                env={**clean_environment(), **threads, **cards},
            )
        self.connection = Connection(ours.detach())
        self.is_idle = True
        self._work = 0

    def give(self, key: int, work: Workload[Any, Any, Any], given: object) -> None:
        """Send it a piece; it keeps the last work, which may be large."""
        bare = None if key == self._work else Workload(work.prepare, work.do)
        self._work, self.is_idle = key, False
        self.connection.send((key, bare, given))

    def take(self, piece: WorkItem[Any]) -> object:
        """Take the next item of a piece.

        Raises:
            RunError: the process has ended.
        """
        try:
            item = self.connection.recv()
        except (EOFError, ConnectionResetError):
            status = self.process.wait()
            how = msg("signal {number}", number=-status) if status < 0 else msg("status {number}", number=status)
            raise lost(piece, how) from None
        self.is_idle = isinstance(item, Finished | Failed)
        return item

    def end(self) -> None:
        """Wait for its end."""
        try:
            self.process.wait(GRACE)
        finally:
            self.connection.close()
            self.process.kill()
            self.process.wait()
