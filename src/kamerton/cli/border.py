"""The one place where what goes wrong becomes a sentence and an exit status: mistakes, stops, faults of the system."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

from kamerton.cli.interrupts import INTERRUPTED, ignore_interrupts
from kamerton.cli.streams import ERRORS, OUTPUT, silence
from kamerton.core import registry
from kamerton.core.errors import Fault, KamertonError
from kamerton.core.files import error_number, shell_word
from kamerton.core.messages import Wording

STREAMS = {OUTPUT: 1, ERRORS: 2}
"""Numbers of the streams that may fail."""
OK, MISTAKE, USAGE, UNMET = 0, 1, 2, 3

RESUMABLE: ContextVar[Path | None] = ContextVar("resumable", default=None)
"""The run that is kept when the command stops, if there is one."""
TEMPORARY = re.compile(r"^\.(.+?)(\.\d+)?\.tmp$")
"""The name of a file while it is written."""
SPACE = "free some space there, or choose another place"
WRITABLE = "choose a place that can be written to"
FAULTS = {
    errno.ENOSPC: ("the disk is full", SPACE),
    errno.EDQUOT: ("the disk quota is used up", SPACE),
    errno.EFBIG: ("the file would be larger than is allowed", "raise the limit (`ulimit -f`), or choose another place"),
    errno.EROFS: ("this place is read-only", WRITABLE),
    errno.EACCES: ("permission is denied", "choose a place that you may use, or change its permissions"),
    errno.EPERM: ("permission is denied", "choose a place that you may use, or change its permissions"),
    errno.EIO: ("the device reports an error", "check the disk or the network drive"),
    errno.EMFILE: ("too many files are open", "raise the limit (`ulimit -n`)"),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}
"""What the user reads for an error of the system, and what to do about it."""


class Border:
    """Turns what a block raises into a message on standard error and an exit status; used in a `with` statement.

    Args:
        language: of the reader; that of the environment if not given.
    """

    def __init__(self, language: str | None = None) -> None:
        self.language = language or ("ru" if os.environ.get("KAMERTON_LANGUAGE") == "ru" else "en")

    def __enter__(self) -> Border:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None or isinstance(error, SystemExit):
            error = _flushed() or error
        if error is None or isinstance(error, SystemExit):
            return False
        if isinstance(error, BrokenPipeError):  # whoever read our output went away, which is no fault
            silence(1)
            return True
        if any(isinstance(one, KeyboardInterrupt) for one in _chain(error)):
            ignore_interrupts()
            self.say(_stopped())
            raise SystemExit(INTERRUPTED) from None
        faults = error.faults if isinstance(error, KamertonError) else _faults_of_system(error)
        for fault in faults:
            self.say(fault)
        if faults:
            raise SystemExit(MISTAKE) from None
        return False

    def worded(self, sentence: Wording) -> str:
        """Return a sentence in the reader's language, as far as its catalogue goes."""
        said: str = registry.load("kamerton.i18n.voice:voice")(self.language).render(sentence)
        return said

    def say(self, fault: Fault) -> None:
        """Print what is wrong."""
        said = Fault(*map(self.worded, (fault.rule, fault.place, fault.remedy)))
        try:
            print(f"kamerton: {said}", file=sys.stderr, flush=True)
        except OSError:
            silence(2)


def _stopped() -> Fault:
    run = RESUMABLE.get()
    if run is None:
        return Fault("stopped")
    return Fault(f"stopped; what was done is kept, `kamerton resume {shell_word(run)}` goes on")


def _flushed() -> OSError | None:
    """Write what is still buffered; return the error if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception and those that it came from: a library may turn a stop into an error of its own."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _faults_of_system(error: BaseException) -> tuple[Fault, ...]:
    """Return what the system refused; nothing if the error is none of the system's."""
    number, place = error_number(error), ""
    if number is None:
        return ()
    if isinstance(error, OSError) and error.filename is not None:
        place = _place(os.fsdecode(error.filename))
        if place in STREAMS:
            silence(STREAMS[place])
    rule, remedy = FAULTS.get(number, (os.strerror(number).lower(), ""))
    if run := RESUMABLE.get():
        remedy = f"{remedy}; then `kamerton resume {shell_word(run)}` goes on".removeprefix("; ")
    return (Fault(rule, place, remedy),)


def _place(path: str) -> str:
    """Name a file by the name that it would have got."""
    named = Path(path)
    return str(named.with_name(TEMPORARY.sub(r"\1", named.name))) if named.name else path
