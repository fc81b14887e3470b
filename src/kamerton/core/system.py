"""Memory of this process and this machine."""

import ctypes
import math
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names of what `mallopt` sets: malloc.h."""
AGAIN = 0.1
"""Seconds of computing until `TimeIsUp` is raised again: finalizers and callbacks of the collector drop exceptions."""
UNHEARD = 2
"""Seconds of computing after which a process that did not hear its timer is ended; the system counts whole seconds."""
GLIBC = "CS_GNU_LIBC_VERSION" in os.confstr_names
KEPT_BLOCK = 1 << 30
"""Blocks and free ends of the heap up to this many bytes stay with the process."""


def keep_freed_memory() -> None:
    """Keep freed memory in the process for its next tensors: training frees and allocates the same blocks repeatedly.

    By default glibc returns large blocks at once, and the system zeroes each new page: half a second for each GB where
    it was measured, as long as the product that the block was for. Other C libraries are unchanged.
    """
    if GLIBC:
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BLOCK)


def give_back_freed_memory() -> None:
    """Return freed memory to the system, before work that needs blocks of other sizes."""
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int:
    """Return the peak memory of this process and its children, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) * unit


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; the peak where the system does not report it."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return peak_memory()
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_memory() -> int:
    """Return the available memory in bytes."""
    table = Path("/proc/meminfo")
    if table.exists():
        lines = dict(line.split(":", 1) for line in table.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class TimeIsUp(BaseException):
    """Work took longer than it may; no `Exception`, since Jinja goes on after those while it compiles."""


class BoundedWork:
    """Bound the computing time, and the new memory, of Python code that may be hostile: `with BoundedWork(…):`.

    Python looks for signals between its own steps and within products of large numbers, but not while it compares
    nested lists: there the system ends the process, `UNHEARD` seconds later, by SIGXCPU. Only the main thread gets
    signals. Memory is bounded on Linux; blocks that the process freed and kept (`keep_freed_memory`) are not new.

    Args:
        seconds: of computing; 0 for no bound.
        memory: bytes of new memory.

    Raises:
        TimeIsUp, MemoryError: the time is over, the memory is used up.
    """

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds, self._more = seconds, memory
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        soft, hard = self._memory = resource.getrlimit(resource.RLIMIT_AS)
        self._time = resource.getrlimit(resource.RLIMIT_CPU)
        last = math.ceil(time.process_time() + self._seconds) + UNHEARD
        if sys.platform == "linux":
            most = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + self._more
            resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
        if self._main:
            self._bell = signal.signal(signal.SIGPROF, self._ring)
            if self._seconds and (self._time[0] == resource.RLIM_INFINITY or last < self._time[0]):
                resource.setrlimit(resource.RLIMIT_CPU, (last, self._time[1]))
            signal.setitimer(signal.ITIMER_PROF, self._seconds, AGAIN)

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, self._bell or signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CPU, self._time)
        resource.setrlimit(resource.RLIMIT_AS, self._memory)

    def _ring(self, _number: int, frame: FrameType | None) -> None:
        """Raise `TimeIsUp` in the code that is bounded; what sets and lifts the bounds must not be cut short."""
        if frame is None or frame.f_code not in (BoundedWork.__enter__.__code__, BoundedWork.__exit__.__code__):
            raise TimeIsUp
