"""What a process does with its memory, seen from the system."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kamerton.core.files import shell_word

BLOCK = 64 * 1024**2
PAGE = 4096
FAULTS = f"""
import resource
from kamerton.core.system import keep_freed_memory
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


SHAPES = """
import kamerton, torch
from kamerton.core.system import resident_memory
layer = torch.nn.Linear(64, 64).to(torch.bfloat16)
def train(lengths):
    for length in lengths:
        rows = torch.ones(length, 64, dtype=torch.bfloat16, requires_grad=True)
        torch.nn.functional.gelu(layer(rows)).sum().backward()
train(range(1, 65))
before = resident_memory()
train(range(65, 300))
print(resident_memory() - before)
"""
CAPACITIES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def grown(**settings: str) -> int:
    """Give the bytes by which a process grows that trains on rows of ever new lengths."""
    inherited = {name: value for name, value in os.environ.items() if name not in CAPACITIES}
    child = [sys.executable, "-c", SHAPES]
    return int(subprocess.run(child, env={**inherited, **settings}, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="products are not compiled by shape here")
def test_memory_does_not_grow_with_the_lengths_that_were_seen_unless_the_user_wants_them_kept():
    assert grown() < 64e6
    assert grown(**dict.fromkeys(CAPACITIES, "1024")) > 200e6


FREED = """
from kamerton.core.system import give_back_freed_memory, keep_freed_memory, resident_memory
keep_freed_memory()
before = resident_memory()
block = b"x" * {block}
del block
freed = resident_memory() - before
give_back_freed_memory()
print(freed, resident_memory() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what was freed")
def test_what_was_freed_and_kept_can_be_given_back():
    code = FREED.format(block=BLOCK)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    freed, left = map(int, child.stdout.split())
    assert abs(left) < 0.05 * BLOCK < 0.9 * BLOCK < freed


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_word_that_was_quoted_is_the_same_word_to_a_shell(word):
    assert shlex.split(shell_word(word)) == [word]
    assert "'\"'\"'" not in shell_word(word) or set(word) & set('$`"\\!\n')
