"""What a process does with its memory, seen from the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCK = 64 * 1024**2
PAGE = 4096
FAULTS = f"""
import resource
from kamerton.system import keep_freed_memory
keep_freed_memory() if {{keep}} else None
b"x" * {BLOCK}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    b"x" * {BLOCK}
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> int:
    """Count the pages that a process asks the system for while it fills and frees 8 blocks."""
    code = FAULTS.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives blocks back at once")
def test_memory_that_was_freed_is_not_asked_for_again():
    assert faults(keep=False) > 7 * BLOCK / PAGE
    assert faults(keep=True) < BLOCK / PAGE
