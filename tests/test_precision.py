"""Arithmetic is chosen once, by what the machine does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from kamerton.core import registry
from kamerton.core.files import write_sealed
from kamerton.kernels.linear import HalfLinear
from kamerton.kernels.trial import ratio_file
from kamerton.models.load import load_model
from kamerton.models.precision import choose_precision, hold_in_half, set_precision
from tiny_engines import HEAD, TEXT


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


CLASSES = {"encoder": (HEAD, {"num_labels": 3}), "decoder": (TEXT, {}), "seq2seq": ("AutoModelForSeq2SeqLM", {})}


@pytest.fixture(scope="module", params=CLASSES)
def published(request, tmp_path_factory) -> tuple[Path, str, dict[str, int]]:
    """A tiny model that was published in bf16, with the class and the settings to load it by."""
    base, folder = request.getfixturevalue(f"{request.param}_folder"), tmp_path_factory.mktemp("published") / "model"
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: one.bfloat16() for name, one in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder, *CLASSES[request.param]


def numbers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().float() for name, weight in model.named_parameters()}


def test_matrices_published_in_bf16_are_loaded_in_it_and_answers_stay(published):
    full = load_model(*published, seed=0)
    held = load_model(*published, seed=0, half=torch.bfloat16)
    assert all(map(torch.equal, numbers(held.model).values(), numbers(full.model).values()))
    assert held.fresh == full.fresh
    assert type(held.model) is type(full.model)
    ids = torch.arange(5, 35).reshape(2, 15)
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if full.model.config.is_encoder_decoder else {})}
    with torch.no_grad():
        wanted, found = (one.model.eval()(**inputs).logits for one in (full, held))
    assert torch.equal(found, wanted)


def test_new_heads_and_what_a_family_wants_in_fp32_are_not_loaded_in_bf16(published):
    model, fresh, _ = vars(load_model(*published, seed=0, half=torch.bfloat16)).values()
    kept = [name for name, weight in model.named_parameters() if weight.ndim == 2 and weight.dtype == torch.float32]
    assert all(name.startswith((*fresh, "classifier")) or ".wo." in name for name in kept)
    assert bool(kept) == (model.config.model_type != "llama")


@pytest.mark.parametrize("word", ["lora", "ia3", "adapter", "prefix-tuning", "prompt-tuning"])
def test_adapters_begin_beside_half_a_base_as_beside_a_whole_one(published, word):
    knobs = {"dora": True} if word == "lora" else {}
    models = []
    for half in (None, torch.bfloat16):
        loaded = load_model(*published, seed=0, half=half)
        set_precision(loaded.model, "bf16")
        method = registry.choose("methods", word)(**knobs)
        assert method.keeps_matrices
        model = method.attach(loaded.model, loaded.fresh)
        hold_in_half(model)
        models.append(dict(model.named_parameters()))
    first, second = models
    assert first.keys() == second.keys()
    assert all(first[name].dtype == weight.dtype for name, weight in second.items())
    assert all(torch.equal(first[name], weight) for name, weight in second.items())
    assert all(weight.dtype == torch.float32 for weight in second.values() if weight.requires_grad)


def test_a_checkpoint_in_fp32_keeps_its_digits_on_a_processor(decoder_folder):
    model = load_model(decoder_folder, TEXT, {}, seed=0, half=torch.bfloat16).model
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_pairs_that_begin_as_a_part_of_the_matrices_need_them_whole():
    assert not registry.choose("methods", "lora")(init="pissa").keeps_matrices
    assert not registry.choose("methods", "full")().keeps_matrices


def test_products_in_fp16_are_rounded_to_it():
    model = nn.Sequential(nn.Linear(4, 3)).requires_grad_(False)
    set_precision(model, "fp16")
    [layer] = model.train()
    assert isinstance(layer, HalfLinear)
    assert layer.half_weight().dtype == torch.float16
    states = torch.randn(2, 4)
    wanted = (states.half() @ layer.weight.half().T).float() + layer.bias
    torch.testing.assert_close(model(states), wanted)


def test_a_large_matrix_held_in_half_is_multiplied_in_parts(monkeypatch):
    monkeypatch.setattr("kamerton.kernels.linear.AT_ONCE", 40)
    torch.manual_seed(0)
    plain, states = nn.Linear(8, 17), torch.randn(2, 3, 8, requires_grad=True)
    weight = plain.weight.data.bfloat16()
    plain.weight.data = weight.float()
    wanted = plain(states)
    wanted_gradients = torch.autograd.grad(wanted.square().sum(), [states, plain.bias])
    set_precision(nn.Sequential(plain), "bf16")
    plain.eval().weight = nn.Parameter(weight, requires_grad=False)
    found = plain(states)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), [states, plain.bias]), wanted_gradients)
    with torch.no_grad():
        torch.testing.assert_close(plain(states), wanted)
