"""Which of several processes this is, and what it leaves for the one that started it, as torchrun's processes do.

torch's elastic agent names a file to each of them, in a folder of its own, where a failed process writes why it failed.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.files import shell_word, write_text

ERROR_FILE, RANK = "TORCHELASTIC_ERROR_FILE", "RANK"
TORCHRUN = {RANK, "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
"""The environment variables by which torchrun, and all that start processes as it does, tell each which one it is."""
LOCAL_RANK, LOCAL_SIZE = "LOCAL_RANK", "LOCAL_WORLD_SIZE"
"""Those of a process's number on its machine, which is that of its device, and of how many there are."""
LAUNCHED_AS = "KAMERTON_LAUNCH"
"""The environment variable with the command line that started the processes of `kamerton launch`, up to `--`."""
RECORD, RUN = "error.json", "run"
"""Names of the files in a process's folder: torch's of why it failed, and ours of the run that it works on."""


@dataclass(frozen=True)
class FailureRecord:
    """Why a process failed."""

    text: str
    trace: str
    """The traceback; empty where a user's mistake was reported in words."""
    written: float
    """When, in seconds since the epoch."""


def launched_processes() -> int:
    """Return how many processes torchrun has started to work on one command; 1 if it has not started this one."""
    return int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= TORCHRUN else 1


def launched_rank() -> int:
    """Return the number of this process among those; 0 if torchrun has not started it."""
    return int(os.environ[RANK]) if launched_processes() > 1 else 0


def is_launched() -> bool:
    """Return whether this is a process that `kamerton launch` started, which reports then what no user can mend."""
    return LAUNCHED_AS in os.environ and _error_file() is not None


def resume_command(run: Path) -> str:
    """Return the command line that continues a run, on as many processes as this one is among."""
    return f"{os.environ.get(LAUNCHED_AS, 'kamerton')} resume {shell_word(run)}"


def note_run(run: Path) -> None:
    """Leave the path of the run that this process works on."""
    if path := _error_file():
        write_text(path.with_name(RUN), str(run))


def noted_run(folder: Path) -> Path | None:
    """Return the run that a process with this folder worked on, as far as it came to one."""
    path = folder / RUN
    return Path(path.read_text(encoding="utf-8")) if path.exists() else None


def record_failure(text: str, trace: str = "") -> None:
    """Leave why this process fails, in the form of torch's `record`."""
    if path := _error_file():
        now = time.time()
        extra = {"py_callstack": trace, "timestamp": str(int(now)), "seconds": now}
        write_text(path, json.dumps({"message": {"message": text, "extraInfo": extra}}))


def _error_file() -> Path | None:
    """Return where this process leaves why it fails; None if it is no rank, as the children of one are not."""
    path = os.environ.get(ERROR_FILE)
    return Path(path) if path and RANK in os.environ else None


def read_failure(folder: Path) -> FailureRecord | None:
    """Return why a process with this folder failed, if it left that."""
    path = folder / RECORD
    if not path.exists():
        return None
    message = json.loads(path.read_text(encoding="utf-8"))["message"]
    extra = message["extraInfo"]
    return FailureRecord(message["message"], extra["py_callstack"], float(extra.get("seconds", extra["timestamp"])))
