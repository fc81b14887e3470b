"""Arithmetic is chosen once, by what the machine does."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from kamerton.core.files import write_sealed
from kamerton.kernels.trial import ratio_file
from kamerton.models.precision import choose_precision, hold_in_half, set_precision


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


@pytest.fixture
def published_in_bf16(decoder_folder):
    """A tiny Llama with LoRA whose numbers bf16 can hold, except for one matrix."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(decoder_folder, tie_word_embeddings=True))
    exact = model.to(torch.bfloat16).float()
    exact.model.layers[0].mlp.up_proj.weight.data.mul_(1.001)
    set_precision(exact, "bf16")
    model = get_peft_model(exact, LoraConfig(target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False))
    return model.requires_grad_(False)


def test_frozen_matrices_that_bf16_can_hold_are_held_in_it_and_nothing_changes(published_in_bf16):
    model, ids = published_in_bf16, torch.arange(60).reshape(2, 30)
    with torch.no_grad():
        wanted = [model.train(training)(input_ids=ids).logits for training in (False, True)]
        hold_in_half(model)
        found = [model.train(training)(input_ids=ids).logits for training in (False, True)]
    assert all(map(torch.equal, found, wanted))
    base = model.base_model.model
    held = {name for name, weight in base.named_parameters() if weight.dtype == torch.bfloat16}
    assert {"model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight"} <= held
    assert base.lm_head.weight is base.model.embed_tokens.weight
    assert not [name for name in held if "lora" in name or "norm" in name or name == "model.layers.0.mlp.up_proj"]
    assert base.model.layers[0].mlp.up_proj.weight.dtype == torch.float32  # it would be rounded


def test_what_trains_or_is_read_by_others_is_not_held_in_bf16(published_in_bf16):
    base = published_in_bf16.base_model.model
    base.model.layers[0].mlp.down_proj.requires_grad_(True)
    base.reader = nn.Module()
    base.reader.weight = base.model.embed_tokens.weight
    hold_in_half(published_in_bf16)
    assert base.model.layers[0].mlp.down_proj.weight.dtype == base.lm_head.weight.dtype == torch.float32
