"""Progress: a live bar on a terminal, a line every few seconds elsewhere."""

from collections import deque
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.records import Started, Stepped
from kamerton.i18n.language import Language
from kamerton.i18n.voice import ENGLISH, Voice

SECONDS_BETWEEN_LINES = 2.0
RECENT_STEPS = 20
NARROW = 80
NAME_WIDTHS: Mapping[Language, int] = {"en": 11, "ru": 13}
"""Columns for the name of a stage; a longer name pushes its line to the right."""


class Bars:
    """Live progress bars; what is printed meanwhile appears above them."""

    def __init__(self, console: Console, voice: Voice = ENGLISH) -> None:
        bar = BarColumn(bar_width=10 if console.width < NARROW else 30)
        columns = (TextColumn(f"  {{task.description:{NAME_WIDTHS[voice.language]}}}", markup=False), bar)
        count = TextColumn("{task.fields[count]}", markup=False)
        note = TextColumn("{task.fields[note]}", markup=False, style="dim")
        self._progress = Progress(*columns, count, note, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._voice = voice

    def advance(self, name: str, done: int, total: int, note: str = "", unit: str = "") -> None:
        """Move the bar of a stage, by its name in the reader's language; it appears when it is first moved."""
        count = self._voice.render(counted(done, total, unit))
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done, note=note, count=count)
            self._progress.start()
        self._progress.update(self._tasks[name], total=total, completed=done, note=note, count=count)

    def finish(self, name: str) -> None:
        """Remove a bar; without bars, stop drawing."""
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))
        if not self._tasks:
            self._progress.stop()

    def close(self) -> None:
        """Remove all bars."""
        for name in list(self._tasks):
            self.finish(name)


class Lines:
    """A plain line every few seconds: for logs and pipes."""

    def __init__(self, console: Console, clock: Callable[[], float], voice: Voice = ENGLISH) -> None:
        self._console, self._clock, self._voice = console, clock, voice
        self._silent_until = -float("inf")

    def advance(self, name: str, done: int, total: int, note: str = "", unit: str = "") -> None:
        """Write a line, unless there was one a moment ago."""
        if self._clock() < self._silent_until:
            return
        self._silent_until = self._clock() + SECONDS_BETWEEN_LINES
        count = self._voice.render(counted(done, total, unit))
        line = f"  {name:{NAME_WIDTHS[self._voice.language]}} {count}  {note}"
        self._console.print(Text(line.rstrip()), soft_wrap=True)

    def finish(self, name: str) -> None:
        """Write the next stage's first line at once."""
        self._silent_until = -float("inf")

    def close(self) -> None:
        """Nothing to clean up."""


def counted(done: int, total: int, unit: str) -> Message:
    """Return how much is done, with its unit: beside a contender's name a bare fraction reads as its score."""
    if unit == "rows":
        return msg("{done} of {total} {total:row|rows}", done=done, total=total)
    if unit == "steps":
        return msg("{done} of {total} {total:step|steps}", done=done, total=total)
    return msg("{done} of {total}", done=done, total=total)


class Pace:
    """The speed of the last few steps, and the time that is left at that speed."""

    def __init__(self, started: Started) -> None:
        self.steps = started.steps
        self._recent: deque[Stepped] = deque(maxlen=RECENT_STEPS)

    def note(self, step: Stepped) -> Message:
        """Record a step, and return the pace: `loss 0.312  1,100 tokens/s  12 s left`."""
        self._recent.append(step)
        seconds = sum(recent.seconds for recent in self._recent)
        tokens = sum(recent.tokens for recent in self._recent)
        left = Figure((self.steps - step.step) * seconds / len(self._recent), "duration")
        if not seconds:
            return msg("loss {loss}  {left} left", loss=Figure(step.loss), left=left)
        speed = round(tokens / seconds)
        return msg("loss {loss}  {speed} tokens/s  {left} left", loss=Figure(step.loss), speed=speed, left=left)
