"""What a run is at: a small file that is replaced while it goes on, for whoever watches from another process.

It is no part of the run's record: nothing is computed from it, it is not synced, and it is removed with the result.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from kamerton.core.errors import RunError
from kamerton.core.files import json_text
from kamerton.core.message_json import to_json
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import read_object
from kamerton.core.records import Progress, RunEvent, Stage, Started, Stepped
from kamerton.runs.settings import validated

UNDERWAY = ".progress.json"
SECONDS_BETWEEN = 1.0
"""Between two files that differ only in how far a stage is."""
PARTS = DATA, CONTENDERS, TRAINING, EVIDENCE, JUDGEMENT = (
    msg("data"), msg("contenders"), msg("training"), msg("evidence"), msg("judgement")
)  # fmt: skip
"""The parts of the story."""
TRAIN = "train"
"""The stage whose progress the training's own events say."""


@dataclass(frozen=True)
class Underway:
    """What a run is at."""

    part: Wording = ""
    """One of `PARTS`; empty before the first."""
    since: float = 0.0
    """When the last stage ended, or the process began: seconds since 1970."""
    now: Progress | None = None
    """How far the present stage is, if it says so."""
    done: tuple[Stage, ...] = field(default=())
    """The stages that are over, in their order, over all sessions of the run."""


ADAPTER = TypeAdapter(Underway)


def read_underway(folder: Path) -> Underway | None:
    """Return what a run is at; None if it has not begun, has ended, or the file cannot be read."""
    place = folder / UNDERWAY
    with suppress(RunError):
        return validated(ADAPTER, read_object(place), place)
    return None


class UnderwayFile:
    """The file of a run, kept up to date from its events.

    Args:
        folder: of the run.
        mode: permissions of the file.
        clock: time in seconds since 1970.
    """

    def __init__(self, folder: Path, mode: int, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.mode, self.clock = folder, mode, clock
        self._written = -float("inf")
        self._state: Underway | None = None

    @property
    def state(self) -> Underway:
        """What is in the file; what an earlier process has done is taken over."""
        if self._state is None:
            before = read_underway(self.folder) or Underway()
            self._state = replace(before, since=self.clock(), now=None)
        return self._state

    def begin(self, part: Wording) -> None:
        """Begin a part of the story."""
        self._write(replace(self.state, part=part))

    def note(self, event: RunEvent) -> None:
        """Take a stage that is over, or how far one is."""
        match event:
            case Stage():
                self._write(replace(self.state, since=self.clock(), now=None, done=(*self.state.done, event)))
            case Progress():
                self._at(event)
            case Started():
                self._at(Progress(TRAIN, event.step, event.steps, "steps"))
            case Stepped():
                if self._is_due() and self.state.now:
                    self._at(replace(self.state.now, done=event.step))
            case _:
                pass

    def remove(self) -> None:
        """Remove the file: the run has its result."""
        with suppress(OSError):
            (self.folder / UNDERWAY).unlink(missing_ok=True)

    def _is_due(self) -> bool:
        return abs(self.clock() - self._written) >= SECONDS_BETWEEN  # a clock may be set back

    def _at(self, now: Progress) -> None:
        """Note how far the stage is, at once where it is another one."""
        before = self.state.now
        if self._is_due() or before is None or before.stage != now.stage:
            self._write(replace(self.state, now=now))
        else:
            self._state = replace(self.state, now=now)

    def _write(self, state: Underway) -> None:
        self._state, self._written = state, self.clock()
        temporary = self.folder / f"{UNDERWAY}.tmp"
        with suppress(OSError):  # whoever watches sees an older state; what must be kept says that the disk is full
            opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, self.mode)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(json_text(to_json(state)))
            temporary.replace(self.folder / UNDERWAY)
