"""Trials of faster ways to compute: whether they are supported, whether they are right, and how fast they are here.

A ratio of speeds is measured once on a machine and kept in the user's cache folder, so that all runs there decide
alike, however busy the machine is.
"""

import errno
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from timeit import timeit

import torch
from torch import Tensor

from kamerton.core.files import cache_folder, cached, error_number

REPEATS = 12
"""How often each way is timed, in turns; the fastest time counts."""
ROUNDING = 1e-5
"""Largest difference of two fp32 results, relative to the largest number."""

Way = Callable[[], Tensor]


class UnsupportedError(TypeError):
    """A way to compute does not support what it is given."""


class UnexpectedFailure(UserWarning):
    """A trial failed by an exception that is no known refusal: the slower way is taken, and a bug is likely."""


REFUSALS = (UnsupportedError, RuntimeError, IndexError)
"""How torch and transformers refuse: by shapes that do not match, or an operator that is not there."""
MIXED = "on the same device"
"""What torch says of tensors of two devices: no model is the cause."""
SURPRISES = (TypeError, ValueError, KeyError, AttributeError, AssertionError, ArithmeticError)


def attempt(way: Way, refusals: tuple[type[Exception], ...] = REFUSALS) -> Tensor | None:
    """Return the result of a way to compute; None if it is refused, or fails, which raises a warning.

    If memory runs out, which is no refusal, that error is raised.
    """
    expected: tuple[type[Exception], ...] = (*refusals, *SURPRISES)
    try:
        return way()
    except expected as error:
        if is_out_of_memory(error):
            raise
        if not isinstance(error, refusals) or MIXED in str(error):
            text = f"a faster way to compute is not taken: its trial raised {type(error).__name__}: {error}"
            warnings.warn(text, UnexpectedFailure, stacklevel=2)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out; of a CPU or a Mac, torch raises a RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or error_number(error) == errno.ENOMEM


def kept_ratio(name: str, usual: Way, other: Way, *, check: bool = False) -> float:
    """Return how many times as fast as the usual way the other is, as measured when both were tried first.

    If it is to be checked: 0 if the other way gives another result, or this PyTorch lacks its operator.
    """

    def measure() -> bytes:
        return repr(0.0 if check and not _are_equal(usual, other) else _ratio(usual, other)).encode()

    return float(cached(ratio_file(name), measure))


def ratio_file(name: str) -> Path:
    """Return the file of a ratio, for this machine, its threads and PyTorch's version."""
    return cache_folder() / f"{name}-{platform.node()}-{torch.get_num_threads()}-{torch.__version__}.ratio"


def _are_equal(usual: Way, other: Way) -> bool:
    wanted = usual()
    got = attempt(other, (AttributeError, RuntimeError, TypeError))  # no operator, or another signature
    return got is not None and bool((got - wanted).abs().max() <= ROUNDING * wanted.abs().max())


def _ratio(usual: Way, other: Way) -> float:
    times = [(timeit(usual, number=1), timeit(other, number=1)) for _ in range(REPEATS)]
    return min(time for time, _ in times) / min(time for _, time in times)
