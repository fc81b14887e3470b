"""Memory of this process and this machine."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names of what `mallopt` sets: malloc.h."""
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
