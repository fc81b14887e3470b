"""Arithmetic is chosen once, by what the machine does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kamerton.core.files import write_sealed
from kamerton.kernels.trial import ratio_file
from kamerton.models.precision import choose_precision, set_precision


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))


def test_two_runs_on_one_machine_choose_alike_however_busy_it_is():
    chosen = choose_precision()
    kept = ratio_file("bf16-products").read_bytes()
    assert choose_precision() == chosen
    assert ratio_file("bf16-products").read_bytes() == kept


@pytest.mark.parametrize(("ratio", "chosen"), [(3.0, "bf16"), (1.1, "fp32")])
def test_bf16_is_chosen_where_it_is_worth_its_rounding(ratio, chosen):
    write_sealed(ratio_file("bf16-products"), repr(ratio).encode())
    assert choose_precision().value == chosen


def test_a_frozen_weight_is_rounded_once_while_training_and_anew_after_a_change():
    model = nn.Sequential(nn.Linear(4, 3)).requires_grad_(False)
    set_precision(model, "bf16")
    [layer] = model.train()
    once = layer.half_weight()
    assert layer.half_weight() is once
    with torch.no_grad():
        layer.weight.mul_(2)
    torch.testing.assert_close(layer.half_weight(), once * 2)
    layer.weight.data.mul_(2)  # as PEFT merges, which no version tells of: it does so when training is over
    model.eval()
    model.train()
    torch.testing.assert_close(layer.half_weight(), once * 4)


def test_a_weight_that_trains_is_rounded_every_time_and_has_its_gradient():
    model = nn.Sequential(nn.Linear(4, 3))
    set_precision(model, "bf16")
    [layer] = model.train()
    assert layer.half_weight() is not layer.half_weight()
    states = torch.randn(2, 4)
    model(states).sum().backward()
    wanted = states.bfloat16().sum(dim=0).float().expand(3, 4)
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=0.02, atol=0.02)
