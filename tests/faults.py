"""File operations that fail, or at which a process is killed: `faults.c` is built, preloaded, and armed in a child."""

from __future__ import annotations

import ctypes
import math
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from children import kamerton
from kamerton.runs import underway

SOURCE = Path(__file__).with_name("faults.c")
COMPILER = shutil.which("cc")
COUNT, KILL, TEAR, FAIL = range(4)
FOREVER = 1 << 40
OVERRIDES = (1, 2, 3)
"""Linux's capabilities by which root may do what permissions forbid."""
CAPABILITIES = 0x20080522


@dataclass(frozen=True)
class Fault:
    """What happens at which of the file operations that change something, counted from 0."""

    at: int = 0
    how: int = COUNT
    error: int = 0
    times: int = FOREVER
    log: str | None = None
    """A file that gets a line for each operation: its name and its path."""
    copies: tuple[str, str, str] | None = None
    """A folder, where its copies go, and for each operation whether one is made before it (k), within it (t), or both
    (b): what a kill would leave there."""


def build(folder: Path) -> Path:
    """Compile the library that stands between a process and its files."""
    library = folder / "faults.so"
    command = [str(COMPILER), "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def struck(words: Sequence[str], fault: Sequence[object], environment: Mapping[str, str], memory: int) -> None:
    """Be the command line, as it is struck by a fault; for a child of the nursery.

    Args:
        words: of the command line.
        fault: the fields of a `Fault`.
        environment: changes to it.
        memory: bytes that may be added to the process's data; 0 for any.
    """
    os.environ.update(environment)
    tempfile.tempdir = None  # it was chosen from the environment of the process that forked this one
    obey_permissions()
    if memory:
        most = _data() + memory
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    underway.SECONDS_BETWEEN = math.inf  # the operations of two runs are the same ones, whatever time they take
    given = Fault(*fault)
    library = ctypes.CDLL(None)
    if given.copies:
        library.faults_copy(*(one.encode() for one in given.copies))
    arm = library.faults_arm
    arm.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    arm(given.at, given.how, given.error, given.times, given.log.encode() if given.log else None)
    kamerton(words)


def obey_permissions() -> None:
    """Let even root be refused what the permissions of a file do not allow."""
    library, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of capabilities 0 to 31, then of the rest
    if library.capget(header, sets) == 0:
        for number in OVERRIDES:
            sets[0] &= ~(1 << number)
        library.capset(header, sets)


def fields(fault: Fault) -> list[object]:
    """Return a fault as a child takes it."""
    return list(astuple(fault))


def _data() -> int:
    """Return the bytes that this process can write to, as the limit counts them."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0
