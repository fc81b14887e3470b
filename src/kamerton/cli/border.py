"""The one place that turns exceptions into a message and an exit status: mistakes, stops, errors of the system."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

from kamerton.cli.interrupts import INTERRUPTED, ignore_interrupts
from kamerton.cli.speech import worded
from kamerton.cli.streams import ERRORS, OUTPUT, silence
from kamerton.core.errors import Fault, KamertonError
from kamerton.core.files import UNKEPT, cache_folder, error_number
from kamerton.core.messages import Joined, Message, Wording, msg, verbatim
from kamerton.core.ranks import is_launched, note_run, record_failure, resume_command
from kamerton.text.safe import safe_text

STREAMS = {OUTPUT: (1, msg("standard output")), ERRORS: (2, msg("standard error"))}
"""Descriptors and names of the streams that may fail."""
OK, MISTAKE, USAGE, UNMET = 0, 1, 2, 3

RESUMABLE: ContextVar[Path | None] = ContextVar("resumable", default=None)
"""The run that is kept when the command stops, if there is one."""
TEMPORARY = re.compile(r"^\.(.+?)(\.\d+)?\.tmp$")
"""The name of a file while it is written."""
SPACE = msg("free some space there, or choose another place")
PERMISSION = msg("permission is denied")
ALLOWED = msg("choose a place that you may use, or change its permissions")
FAULTS: Mapping[int, tuple[Message, Message]] = {
    errno.ENOSPC: (msg("the disk is full"), SPACE),
    errno.EDQUOT: (msg("the disk quota is used up"), SPACE),
    errno.EFBIG: (
        msg("the file would be larger than is allowed"),
        msg("raise the limit (`ulimit -f`), or choose another place"),
    ),
    errno.EROFS: (msg("this place is read-only"), msg("choose a place that can be written to")),
    errno.EACCES: (PERMISSION, ALLOWED),
    errno.EPERM: (PERMISSION, ALLOWED),
    errno.EIO: (msg("the device reports an error"), msg("check the disk or the network drive")),
    errno.ENOMEM: (
        msg("there is too little memory"),
        msg("close other programs, or choose a smaller model or smaller batches"),
    ),
    errno.EMFILE: (msg("too many files are open"), msg("raise the limit (`ulimit -n`)")),
    errno.ENOENT: (msg("there is no such file or folder"), msg("check the path")),
    errno.ENAMETOOLONG: (msg("the name is too long"), msg("choose a shorter one")),
}
"""The rule and the remedy for each error of the system."""


class Border:
    """Turns what a block raises into a message on standard error and an exit status; used in a `with` statement."""

    def __enter__(self) -> Border:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if UNKEPT:
            reason, place = UNKEPT.pop().strerror, str(cache_folder())
            UNKEPT.clear()
            rule = msg("what was measured cannot be kept for the next time: {reason}", reason=reason or "")
            print_fault(Fault(rule, place, msg("name another folder: KAMERTON_CACHE=FOLDER")))
        if error is None or isinstance(error, SystemExit):
            try:
                sys.stdout.flush()
            except OSError as failed:
                error = failed
        if error is None or isinstance(error, SystemExit):
            return False
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone: no fault
            silence(1)
            return True
        if any(isinstance(one, KeyboardInterrupt) for one in _chain(error)):
            ignore_interrupts()
            kept = msg("stopped; what was done is kept, `{command}` goes on", command=_resume())
            print_fault(Fault(kept if RESUMABLE.get() else msg("stopped")))
            raise SystemExit(INTERRUPTED) from None
        faults = error.faults if isinstance(error, KamertonError) else _faults_of_system(error)
        trace = "" if faults else "".join(traceback.format_exception(error))
        record_failure("\n".join(map(_line, faults)) or f"{type(error).__name__}: {error}", trace)
        if is_launched():  # which shows the record, unless another rank's failure is the cause
            raise SystemExit(MISTAKE) from None
        for fault in faults:
            print_fault(fault)
        if faults:
            raise SystemExit(MISTAKE) from None
        return False


def print_fault(fault: Fault) -> None:
    """Print what is wrong on standard error, in the reader's language."""
    try:
        print(_line(fault), file=sys.stderr, flush=True)
    except OSError:
        silence(2)


def _line(fault: Fault) -> str:
    said = Fault(*map(worded, (fault.rule, fault.place, fault.remedy)))
    return f"kamerton: {safe_text(str(said))}"


def _resume() -> str:
    run = RESUMABLE.get()
    return resume_command(run) if run else ""


def work_on(run: Path) -> None:
    """Note the run that is kept when the command stops, here and for the launcher of this process."""
    RESUMABLE.set(run)
    note_run(run)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it came from: a library may turn a stop into an error of its own."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _faults_of_system(error: BaseException) -> tuple[Fault, ...]:
    """Return what the system refused; nothing if the error is none of the system's."""
    number = error_number(error)
    if number is None:
        return ()
    place: Wording = ""
    if isinstance(error, OSError) and error.filename is not None:
        place = os.fsdecode(error.filename)
        if name := Path(place).name:  # of a file that was being written: the final one
            place = str(Path(place).with_name(TEMPORARY.sub(r"\1", name)))
        if place in STREAMS:
            descriptor, place = STREAMS[place]
            silence(descriptor)
    remedy: Wording
    rule, remedy = FAULTS.get(number) or (verbatim(os.strerror(number).lower()), "")
    if RESUMABLE.get():
        resume = msg("then `{command}` goes on", command=_resume())
        remedy = Joined((remedy, resume)) if remedy else resume
    return (Fault(rule, place, remedy),)
