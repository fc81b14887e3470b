"""How much faster one way to compute is than another on this machine: tried once, and kept in the user's cache folder.

So all runs on one machine decide alike, however busy it is.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from kamerton.core.files import cache_folder, read_json, write_json

TIMES = 12
"""How often each way is timed, in turns; the fastest time counts."""
ROUNDING = 1e-5
"""Largest difference of two fp32 results, relative to the largest number."""

Way = Callable[[], Tensor]


def kept_ratio(name: str, usual: Way, other: Way) -> float:
    """Give how many times as fast as the usual way the other is, as it was when both were tried first.

    Args:
        name: of what is tried; with the machine, its threads and PyTorch's version it names the file.
        usual: a way to compute something.
        other: another one.
    """
    path = ratio_file(name)
    if not path.exists():
        write_json(path, {"ratio": _ratio(usual, other)})
    return float(read_json(path)["ratio"])


def kept_ratio_if_equal(name: str, usual: Way, other: Way) -> float:
    """Give the same; 0 if the other way gives another result, or cannot be gone with this PyTorch."""
    path = ratio_file(name)
    if not path.exists() and not _are_equal(usual, other):
        write_json(path, {"ratio": 0.0})
    return kept_ratio(name, usual, other)


def ratio_file(name: str) -> Path:
    """Name the file in which a ratio is kept."""
    return cache_folder() / f"{name}-{platform.node()}-{torch.get_num_threads()}-{torch.__version__}.json"


def _are_equal(usual: Way, other: Way) -> bool:
    wanted = usual()
    try:
        return bool((other() - wanted).abs().max() <= ROUNDING * wanted.abs().max())
    except (AttributeError, RuntimeError, TypeError):
        return False  # a PyTorch without an operator, or with another of its name, says so in one of these ways


def _ratio(usual: Way, other: Way) -> float:
    times = [(_seconds(usual), _seconds(other)) for _ in range(TIMES)]
    return min(time for time, _ in times) / min(time for _, time in times)


def _seconds(way: Way) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
