"""Which of several processes failed first, and why."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from kamerton.core.ranks import read_failure

KILLED = 128
"""Exit statuses of processes that were ended by a signal begin here, as shells have it."""
LAST_LINES = 20
"""Lines of a process's output that are shown if it left no reason."""


@dataclass(frozen=True)
class FailedRank:
    """A process that failed."""

    rank: int
    status: int
    """Its exit status; 128 and the number of the signal that ended it."""
    text: str = ""
    """What it left: a traceback, a message, or the end of its output."""
    plain: bool = False
    """Whether no more is to be said: rank 0 found a user's mistake, or had the terminal to say what is wrong."""

    @property
    def signal_name(self) -> str:
        """The signal that ended it; empty if none did."""
        return signal.Signals(self.status - KILLED).name if self.status > KILLED else ""


def first_failure(codes: Mapping[int, int], folders: Mapping[int, Path]) -> FailedRank:
    """Return the cause of the failures that were seen at the same moment.

    What was killed comes first, since it drags the others along; then what left the earliest record.

    Args:
        codes: the return code of each failed rank, negative for a signal.
        folders: of all ranks, with their output.
    """
    records = {rank: read_failure(folders[rank]) for rank in codes}
    times = {rank: record.written if record else inf for rank, record in records.items()}
    rank = min(codes, key=lambda one: (codes[one] > 0, times[one], one))
    code, record = codes[rank], records[rank]
    if code < 0:
        return FailedRank(rank, KILLED - code, _end_of(folders[rank]))
    if record is None:
        return FailedRank(rank, code, _end_of(folders[rank]), plain=rank == 0)
    return FailedRank(rank, code, record.trace or record.text, plain=rank == 0 and not record.trace)


def _end_of(folder: Path) -> str:
    """Return the last lines that a process wrote on its standard error; rank 0's stand on the terminal."""
    path = folder / "stderr.log"
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
