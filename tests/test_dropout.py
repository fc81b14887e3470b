"""Dropout is equal in distribution to torch's, the same for a seed, and its gradients are those of its own mask."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import Tensor, nn

from kamerton.kernels.dropout import STEPS, Bits, Chance, Dropout, use_fast_dropout

SURE = 1e-4
"""A test that a fair generator fails once in ten thousand seeds; the seeds are fixed."""


def dropped(shape: tuple[int, ...], probability: float, seed: int = 0) -> Tensor:
    """Say which elements of ones stay, after checking that they are scaled by one factor."""
    layer = Dropout(probability)
    torch.manual_seed(seed)
    out = layer(torch.ones(shape))
    assert len(out.unique()) == 2
    return out > 0


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.013])
def test_as_many_elements_are_dropped_as_the_probability_says(probability):
    kept = dropped((1000, 1001), probability)
    assert binomtest(int((~kept).sum()), kept.numel(), probability).pvalue > SURE


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.9])
def test_mean_and_variance_are_those_of_exact_dropout(probability):
    torch.manual_seed(1)
    out = Dropout(probability)(torch.ones(2000, 1000, dtype=torch.float64))
    variance = probability / (1 - probability)
    assert abs(out.mean() - 1) < 4 * math.sqrt(variance / out.numel())
    assert out.var() == pytest.approx(variance, rel=0.01)


@pytest.mark.parametrize("probability", [1e-6, 0.1, 1 / 3, 0.999999])
def test_the_factor_keeps_the_mean_of_the_rounded_probability_exactly(probability):
    chance = Chance.of(probability)
    every = np.arange(-STEPS // 2, STEPS // 2).astype(np.int16)
    assert chance.kept(every).double().mean() * chance.factor == pytest.approx(1, abs=1e-12)
    assert abs(chance.steps / STEPS - probability) <= 1 / STEPS


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 16, 384])
def test_elements_are_independent_of_their_neighbours(lag):
    kept = dropped((400, 1000), 0.5).flatten()
    pairs = torch.bincount(2 * kept[:-lag].long() + kept[lag:].long(), minlength=4)
    assert chisquare(pairs.tolist()).pvalue > SURE


@pytest.mark.parametrize("one, other", [(0, 1), (1, 2), (0, 1 << 40)])
def test_masks_of_different_seeds_are_independent(one, other):
    first, second = ((Bits(seed).of((300_000,)) > 0).astype(int) for seed in (one, other))
    assert chisquare(np.bincount(2 * first + second)).pvalue > SURE


def test_masks_of_steps_that_follow_each_other_are_independent():
    torch.manual_seed(0)
    layer = Dropout(0.5)
    masks = [(layer(torch.ones(100_000)) > 0).long() for _ in range(4)]
    for one, other in pairwise(masks):
        assert chisquare(torch.bincount(2 * one + other).tolist()).pvalue > SURE


def test_all_values_of_16_bits_come_alike_often():
    counts = np.bincount(Bits(3).of((4_000_000,)).astype(int) + STEPS // 2, minlength=STEPS)
    assert chisquare(counts).pvalue > SURE


def test_the_same_state_of_torchs_generator_gives_the_same_mask_and_another_one_another():
    assert torch.equal(dropped((50, 7), 0.3), dropped((50, 7), 0.3))
    assert not torch.equal(dropped((50, 7), 0.3), dropped((50, 7), 0.3, seed=1))


def test_the_gradient_passes_where_the_values_did():
    layer, states = Dropout(0.4), torch.randn(30, 40, requires_grad=True)
    out = layer(states)
    out.backward(torch.full_like(out, 2.0))
    torch.testing.assert_close(states.grad, 2 * out.detach() / states.detach())


def test_nothing_is_dropped_while_evaluating_or_at_probability_0():
    states = torch.randn(5, 5)
    assert torch.equal(Dropout(0.5).eval()(states), states)
    assert torch.equal(Dropout(0.0)(states), states)
    assert not Dropout(1.0)(states).any()


def test_a_models_dropout_layers_are_exchanged_and_its_weights_keep_their_names():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.2)))
    names = list(model.state_dict())
    use_fast_dropout(model)
    assert [module.p for module in model.modules() if type(module) is Dropout] == [0.1, 0.2]
    assert list(model.state_dict()) == names
