"""Independent pieces of work: what they share, where they are done, and the order in which their events are told.

Seeds, candidates of the range test, remedies and points of a learning curve do not depend on each other. Each kind is a
`Workload`; the pieces are done here one after the other, or by a plug-in of `plugins/workers/`: `--on processes:4`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from kamerton.core import registry
from kamerton.core.errors import Fault, KamertonError, RecipeError, RunError
from kamerton.core.messages import Wording, msg
from kamerton.core.ranks import launched_processes
from kamerton.core.records import RunEvent

Shared = TypeVar("Shared")
Given = TypeVar("Given")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Workload(Generic[Shared, Given, Value]):
    """A kind of work. Its functions are named in modules, so that they can be sent to other processes."""

    prepare: Callable[[], Shared]
    """Returns what the pieces share; called once in each process that does some. It is sent, so its arguments are
    plain values: a run's path, not the run."""
    do: Callable[[Shared, Given], Generator[RunEvent, None, Value]]
    """Does one piece: yields its events and returns a plain value. It writes only into folders of its own."""
    ready: Shared | None = None
    """What `prepare` would return, where this process has it already; it is never sent."""


@dataclass(frozen=True)
class WorkItem(Generic[Given]):
    """A piece of work."""

    name: Wording
    """As errors name it."""
    given: Given


@dataclass(frozen=True)
class Done(Generic[Given, Value]):
    """A piece that was done."""

    given: Given
    value: Value


class Workers(Protocol):
    """Where pieces are done. Used in a `with` statement: whatever is started ends with it."""

    @classmethod
    def at(cls, place: str, cores: int) -> Self:
        """Return the workers at a place (what follows the colon of `--on`), with so many cores for each.

        Raises:
            RecipeError: there is no such place.
        """

    def carry_out(
        self, work: Workload[Shared, Given, Value], pieces: Sequence[WorkItem[Given]]
    ) -> Iterator[RunEvent | Done[Given, Value]]:
        """Do pieces; yield the events of each, then that it is done, in the order of the pieces.

        When the iterator ends early, by an error, a stop or `close`, pieces that were begun are stopped first.

        Raises:
            KamertonError: a piece failed; the error names it.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Here:
    """Does pieces in this process, one after the other."""

    @classmethod
    def at(cls, place: str, cores: int) -> Self:
        """Return this process, whatever the place."""
        return cls()

    def carry_out(
        self, work: Workload[Shared, Given, Value], pieces: Sequence[WorkItem[Given]]
    ) -> Iterator[RunEvent | Done[Given, Value]]:
        """Do pieces; errors are raised as they are."""
        if pieces:
            shared = work.prepare() if work.ready is None else work.ready
            for piece in pieces:
                value = yield from work.do(shared, piece.given)
                yield Done(piece.given, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was started."""


HERE: Workers = Here()


def choose_workers(word: str | None, cores: int = 1) -> Workers:
    """Return the workers of `--on`: this process if there is no word, else `KIND` or `KIND:PLACE`.

    Raises:
        RecipeError: there is no such kind, no such place, or this is one of several processes of one training.
    """
    if word is None:
        return HERE
    if launched_processes() > 1:
        rule = msg("one training on several processes, or several trainings at the same time: not both")
        raise RecipeError(Fault(rule, "--on", msg("leave out --on, or `kamerton launch`")))
    kind, _, place = word.partition(":")
    if kind not in registry.names("workers") and registry.DOTTED.fullmatch(word):
        kind, place = word, ""
    chosen: type[Workers] = registry.choose("workers", kind)
    return chosen.at(place, cores)


class InOrder:
    """Puts what several pieces yield at the same time into the order of the pieces.

    What the first unfinished piece yields is passed on at once; what others yield waits for its turn.
    """

    def __init__(self, pieces: Sequence[WorkItem[Any]]) -> None:
        self._pieces, self._turn = pieces, 0
        self._waiting: list[list[RunEvent | Done[Any, Any]]] = [[] for _ in pieces]

    def take(self, number: int, item: object) -> Iterator[RunEvent | Done[Any, Any]]:
        """Take an item of a piece, by its number, as `doing` yields it; yield what can be passed on.

        Raises:
            KamertonError: the piece failed.
        """
        piece = self._pieces[number]
        match item:
            case Failed():
                raise type(item.error)([_named(piece, fault) for fault in item.error.faults]) from item.error
            case Finished():
                self._waiting[number].append(Done(piece.given, item.value))
            case _:
                self._waiting[number].append(item)  # type: ignore[arg-type]  # an event
        while self._turn < len(self._pieces):
            now = self._waiting[self._turn]
            yield from now
            over = bool(now) and isinstance(now[-1], Done)
            now.clear()
            if not over:
                return
            self._turn += 1


def _named(piece: WorkItem[Any], fault: Fault) -> Fault:
    return Fault(msg("{piece}: {reason}", piece=piece.name, reason=fault.rule), fault.place, fault.remedy)


def lost(piece: WorkItem[Any], reason: Wording) -> RunError:
    """Return the error of a worker that ended in the middle of a piece."""
    rule = msg("{piece}: its worker has ended: {reason}", piece=piece.name, reason=reason)
    return RunError(Fault(rule, remedy=msg("what was done is kept; fewer workers need less memory at once")))


# ── in the process that does the work ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Finished:
    """The last item of a piece: its value."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The last item of a piece that failed by an error of the user's."""

    error: KamertonError


class PieceRunner:
    """Does pieces in a worker's process; what they share is prepared by the first one of a kind."""

    def __init__(self) -> None:
        self._key: object = None
        self._do: Any = None

    def doing(
        self, key: object, work: Workload[Any, Any, Any] | None, given: object
    ) -> Iterator[RunEvent | Finished | Failed]:
        """Do a piece of the work that has this key; yield its events, then `Finished` or `Failed`.

        The work itself may be left out if its key was the last one.
        """
        try:
            if work and key != self._key:
                self._key, self._do = None, None  # what the last pieces shared takes memory
                self._do = partial(work.do, work.prepare())
                self._key = key
            value = yield from self._do(given)
        except KamertonError as error:
            yield Failed(error)
        else:
            yield Finished(value)
