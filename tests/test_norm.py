"""Norms computed in one node are the library's own: values, gradients, names; and only norms become such."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated
from transformers.models.t5.modeling_t5 import T5LayerNorm

from kamerton.kernels.norm import FusedNorm, fuse_norms
from kamerton.models.load import load_model

WIDTH = 24
NORMS = {
    "Llama": lambda: LlamaRMSNorm(WIDTH),
    "Qwen3": lambda: Qwen3RMSNorm(WIDTH, eps=1e-3),
    "T5": lambda: T5LayerNorm(WIDTH),
}
OTHERS = {
    "Gemma, whose weight is added to one": lambda: GemmaRMSNorm(WIDTH),
    "torch's, whose epsilon may be nothing": lambda: nn.RMSNorm(WIDTH),
    "Mamba's, which may be given a gate": lambda: MambaRMSNormGated(WIDTH, WIDTH),
    "Qwen3-Next's, which is always given one": lambda: Qwen3NextRMSNormGated(WIDTH),
    "a norm about the mean": lambda: nn.LayerNorm(WIDTH, bias=False),
    "a layer without a number": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
}


def with_weight(make) -> nn.Module:
    norm = make()
    torch.manual_seed(1)
    nn.init.normal_(norm.weight)
    return norm


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
def test_values_and_gradients_are_the_librarys(make, trains):
    own = nn.Sequential(with_weight(make)).requires_grad_(trains)
    fused = copy.deepcopy(own)
    fuse_norms(fused)
    assert isinstance(fused[0], FusedNorm)
    assert type(fused[0]).__name__ == type(own[0]).__name__
    torch.manual_seed(0)
    states, towards = (torch.randn(2, 5, WIDTH, dtype=torch.float32) for _ in range(2))
    states.requires_grad_()
    got, wanted = fused(states), own(states)
    assert "_Norm" in type(got.grad_fn).__name__
    torch.testing.assert_close(got, wanted)
    inputs = [[states, *model.parameters()] if trains else [states] for model in (fused, own)]
    pairs = [torch.autograd.grad(out, of, towards) for out, of in zip((got, wanted), inputs, strict=True)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_gradient_is_that_of_the_values():
    norm = nn.Sequential(with_weight(NORMS["Llama"])).double()
    fuse_norms(norm)
    states = torch.randn(3, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, _: norm(x), (states, norm[0].weight))


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_what_computes_something_else_stays_as_it_is(make):
    model = nn.Sequential(with_weight(make))
    kind = type(model[0])
    fuse_norms(model)
    assert type(model[0]) is kind


def test_where_no_gradient_is_wanted_the_librarys_own_way_is_taken():
    model = nn.Sequential(with_weight(NORMS["Llama"]))
    fuse_norms(model)
    states = torch.randn(2, WIDTH, requires_grad=True)
    model[0].plain = True
    assert "_Norm" not in type(model(states).grad_fn).__name__
    model[0].plain = False
    with torch.no_grad():
        torch.testing.assert_close(model(states), with_weight(NORMS["Llama"])(states), rtol=0, atol=0)


def test_every_norm_of_a_real_architecture_is_found(decoder_folder):
    model = load_model(decoder_folder, "AutoModelForCausalLM", {}, seed=0).model
    norms = [module for module in model.modules() if isinstance(module, LlamaRMSNorm)]
    fuse_norms(model)
    assert norms
    assert all(isinstance(norm, FusedNorm) for norm in norms)
