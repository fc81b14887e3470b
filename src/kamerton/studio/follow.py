"""The course of a training as it happens: the tail of a run's log of events, compact in memory."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from kamerton.core.errors import RunError
from kamerton.core.message_json import numbers
from kamerton.core.records import Halved, Overflowed, Started, Stopped, Validated
from kamerton.report.charts import Updates
from kamerton.runs.changes import RunFiles
from kamerton.runs.logs import MARK, parse_line
from kamerton.runs.run import EVENTS, LOG
from kamerton.runs.settings import validated

COLUMNS = ("step", "epoch", "loss", "learning_rate", "tokens", "seconds")
"""What is kept of an update: 48 bytes of its 200 in the log."""
RECENT = 20
"""Updates over which the speed is measured."""
CHUNK = 1 << 20
KNOWN = 64
"""Bytes before the present place that must be what they were, or the log is another one: 8 of them are a checksum."""
MOST_COURSES = 32
"""Of some half a megabyte each with 5,000 updates; one that is asked for again is read in 50 ms."""


class LiveCourse:
    """The events of one training so far.

    A log only grows, except when a run goes on from a checkpoint: then it is replaced by its beginning, which shows in
    the bytes before the place that was reached.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = Lock()
        """Held while the course is brought up to date or drawn: several tabs may follow it."""
        self._begin()

    def _begin(self) -> None:
        self.offset = self.lines = 0
        self._before = b""
        self.columns: Mapping[str, array[float]] = {name: array("d") for name in COLUMNS}
        self.validations: list[Validated] = []
        self.notes: list[Halved | Overflowed] = []
        self.started: Started | None = None
        self.stopped: Stopped | None = None
        self.damaged = 0
        """The number of the first line that is not what the run wrote; nothing after it is read."""

    def catch_up(self) -> None:
        """Read what was written since."""
        with suppress(FileNotFoundError), RunFiles(self.folder).place(LOG).open("rb") as file:
            file.seek(max(0, self.offset - KNOWN))
            if file.read(min(KNOWN, self.offset)) != self._before:
                self._begin()
                file.seek(0)
            for line in self._new_lines(file):
                self._take(line)
            return
        if self.offset:
            self._begin()

    def _new_lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield whole lines from the present place on."""
        rest = b""
        while not self.damaged and (chunk := file.read(CHUNK)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.offset += len(line) + 1
                self._before = (self._before + line + b"\n")[-KNOWN:]
                self.lines += 1
                yield line

    def _take(self, line: bytes) -> None:
        record = parse_line(line, older=MARK.encode() not in line)
        if record is None:
            self.damaged = self.damaged or self.lines
        elif not self.damaged:
            self._add(record.pop("event", None), numbers(record))

    def _add(self, name: object, record: Mapping[str, Any]) -> None:
        if name == "stepped":  # one line in two or more: not checked any further than by its checksum
            for column in COLUMNS:
                self.columns[column].append(record[column])
        elif name in EVENTS:  # else a newer version has written it
            with suppress(RunError):
                self._keep(validated(EVENTS[name], record, LOG))

    def _keep(self, event: object) -> None:
        match event:
            case Started():
                self.started, self.stopped = event, None
            case Validated():
                self.validations.append(event)
            case Stopped():
                self.stopped = event
            case Halved() | Overflowed():
                self.notes.append(event)

    # ── what it says ──────────────────────────────────────────────────────────────────────────

    @property
    def step(self) -> int:
        """The last update."""
        steps = self.columns["step"]
        return int(steps[-1]) if steps else 0

    @property
    def updates(self) -> Updates:
        """The columns that are drawn."""
        return Updates(self.columns["step"], self.columns["loss"], self.columns["learning_rate"])

    @property
    def tokens_per_second(self) -> float | None:
        """The speed over the last updates; None before any."""
        seconds = sum(self.columns["seconds"][-RECENT:])
        return sum(self.columns["tokens"][-RECENT:]) / seconds if seconds else None

    @property
    def seconds_left(self) -> float | None:
        """What the rest of the training takes at the speed of the last updates; None before any, and at the end."""
        recent = self.columns["seconds"][-RECENT:]
        if not recent or not self.started or self.stopped:
            return None
        return (self.started.steps - self.step) * sum(recent) / len(recent)


class LiveCourses:
    """The courses that were followed last."""

    def __init__(self, most: int = MOST_COURSES) -> None:
        self._most, self._lock = most, Lock()
        self._courses: OrderedDict[Path, LiveCourse] = OrderedDict()

    def of(self, folder: Path) -> LiveCourse:
        """Return the course of a run's folder; the caller brings it up to date."""
        with self._lock:
            course = self._courses.setdefault(folder, LiveCourse(folder))
            self._courses.move_to_end(folder)
            while len(self._courses) > self._most:
                self._courses.popitem(last=False)
            return course
