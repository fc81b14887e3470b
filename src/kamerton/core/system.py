"""What this process and this machine hold of memory."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names of what `mallopt` sets: malloc.h."""
KEPT_BLOCK = 1 << 30
"""Blocks and free ends of the heap up to this many bytes are not given back to the system."""


def keep_freed_memory() -> None:
    """Let freed memory stay with the process for its next tensors: training frees and takes the same again and again.

    By itself glibc gives large blocks back at once, and the system fills every page anew with zeros: where that was
    measured, half a second for each GB, as long as the product that the block was taken for. Other C libraries are
    left alone.
    """
    if _glibc():
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BLOCK)


def give_back_freed_memory() -> None:
    """Give all that was freed back to the system, for a new piece of work that takes blocks of other sizes."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int:
    """Measure the most memory that this process and its children held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) * unit


def resident_memory() -> int:
    """Measure what this process holds now, in bytes; where the system does not say, the most it held."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return peak_memory()
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> bool:
    """Say whether the C library is glibc."""
    return "CS_GNU_LIBC_VERSION" in os.confstr_names


def free_memory() -> int:
    """Say how much memory can still be had, in bytes."""
    table = Path("/proc/meminfo")
    if table.exists():
        lines = dict(line.split(":", 1) for line in table.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
