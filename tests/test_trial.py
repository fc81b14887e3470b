"""A faster way that fails is refused, told or raised, by how it fails; memory that runs out is never a refusal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kamerton.engine.verify import prove_equal
from kamerton.kernels.trial import UnexpectedFailure, UnsupportedError, attempt, is_out_of_memory


def raising(error: Exception) -> Tensor:
    raise error


@pytest.mark.parametrize("error", [UnsupportedError("a mask"), RuntimeError("shapes do not match"), IndexError("9")])
def test_what_a_model_cannot_run_is_refused(error):
    assert attempt(lambda: raising(error)) is None
    assert not prove_equal(torch.nn.Identity(), lambda: raising(error), lambda: torch.ones(1))


@pytest.mark.parametrize("error", [TypeError("no such keyword"), AttributeError("no such name"), KeyError("key")])
def test_a_failure_that_nobody_expects_is_told_and_names_the_exception(error):
    with pytest.warns(UnexpectedFailure, match=type(error).__name__):
        assert attempt(lambda: raising(error)) is None
    with pytest.raises(UnexpectedFailure):  # tests make warnings errors
        prove_equal(torch.nn.Identity(), lambda: raising(error), lambda: torch.ones(1))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("none left")])
def test_memory_that_runs_out_is_no_refusal(error):
    with pytest.raises(type(error)):
        prove_equal(torch.nn.Identity(), lambda: raising(error), lambda: torch.ones(1))


def test_torchs_own_error_of_a_processor_without_memory_is_known():
    with pytest.raises(RuntimeError) as raised:
        attempt(lambda: torch.empty(1 << 50))
    assert is_out_of_memory(raised.value)


def test_an_error_of_the_reference_is_raised():
    with pytest.raises(RuntimeError, match="broken"):
        prove_equal(torch.nn.Identity(), lambda: torch.ones(1), lambda: raising(RuntimeError("broken")))
