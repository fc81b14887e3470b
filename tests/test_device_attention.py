"""Attention on a device is that of each sequence alone, by whichever kernel; no card is needed to see it."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import varlen

from kamerton.engine import device_attention
from kamerton.engine.device_attention import SlowAttention, attend_on_device, run_fused, warn_of_scores
from kamerton.engine.packed import AttentionScores, attend_apart
from varlen_kernel import Kernel

LENGTHS = (5, 1, 9, 3)


@pytest.fixture
def states() -> list[Tensor]:
    """Queries of four heads, keys and values of two: `[1, heads, tokens, width]`."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, sum(LENGTHS), 8, generator=draw) for heads in (4, 2, 2)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("half", [None, torch.float16, torch.bfloat16])
def test_each_sequence_attends_to_itself(states, causal, window, half, monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(device_attention, "_capability", lambda _device: (8, 0))
    wanted = attend_apart(*states, LENGTHS, AttentionScores(0.3, causal, window, None, None, 0.0))
    boundaries = torch.tensor(list(accumulate(LENGTHS, initial=0)), dtype=torch.int32)
    rules = {"causal": causal, "window": window, "dropout": 0.0, "half": half}
    found = attend_on_device(*states, LENGTHS, boundaries, 0.3, **rules)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 if half is None else 2e-2)
    assert len(kernel.calls) == (half is not None)
    for call in kernel.calls:
        assert call["cu_seq_q"].dtype == torch.int32
        assert call["window_size"] == (-1 if window is None else 2, 0 if causal else -1 if window is None else 2)
        assert call["query"].dtype == half
    padded = attend_on_device(*states, LENGTHS, None, 0.3, **rules)
    torch.testing.assert_close(padded, wanted, rtol=0, atol=1e-5 if half is None else 2e-2)


@pytest.mark.parametrize(
    ("capability", "width", "kind", "taken"),
    [
        ((8, 0), 64, torch.bfloat16, True),
        ((9, 0), 256, torch.float16, True),
        ((7, 5), 64, torch.float16, False),
        ((8, 0), 64, torch.float32, False),
        ((8, 0), 288, torch.bfloat16, False),
        ((8, 0), 60, torch.bfloat16, False),
    ],
)
def test_the_kernel_of_lengths_is_for_new_cards_and_16_bits(capability, width, kind, taken, monkeypatch):
    monkeypatch.setattr(device_attention, "_capability", lambda _device: capability)
    some = torch.zeros(3, 2, width, dtype=kind)
    assert device_attention.takes_lengths(some, some) == taken


def test_gradients_are_those_of_each_sequence_alone(states):
    both = [[one.clone().requires_grad_() for one in states] for _ in range(2)]
    rules = {"causal": True, "window": None, "dropout": 0.0, "half": None}
    attend_on_device(*both[0], LENGTHS, None, 0.3, **rules).square().sum().backward()
    attend_apart(*both[1], LENGTHS, AttentionScores(0.3, True, None, None, None, 0.0)).square().sum().backward()
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


class Picky(nn.Module):
    """A model that no fused kernel takes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(1)), 0

    def forward(self) -> Tensor:
        self.calls += 1
        if not torch.backends.cuda.math_sdp_enabled():
            raise RuntimeError("No available kernel. Aborting execution.")
        return self.weight


def test_a_model_that_no_fused_kernel_takes_is_told_once(monkeypatch):
    monkeypatch.setattr(device_attention, "NUMBERLESS", ())
    model = Picky()
    with pytest.warns(SlowAttention, match=r"cpu: .* grow with the square"):
        run_fused(model, {})
    assert model.calls == 2
    run_fused(model, {})
    assert model.calls == 3
    assert torch.backends.cuda.math_sdp_enabled()


def test_scores_that_no_fused_kernel_computes_are_told_once_and_not_on_a_cpu(monkeypatch):
    monkeypatch.setattr("kamerton.engine.device_attention.name_of", str)  # torch knows no card of this type
    warn_of_scores.cache_clear()
    warn_of_scores(torch.device("cpu"))
    with pytest.warns(SlowAttention, match="grow with the square") as told:
        for _ in range(3):
            warn_of_scores(torch.device("meta"))
    assert len(told) == 1
