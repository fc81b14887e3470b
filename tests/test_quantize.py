"""A base model in four bits: what is rounded, what is not, and that evaluating leaves training as it was."""

from __future__ import annotations

import copy

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from kamerton.core.errors import ModelError
from kamerton.core.figures import memory
from kamerton.core.weights import Quantization
from kamerton.forms.labels import Labels
from kamerton.models.load import Loaded, load_model, load_tokenizer
from kamerton.models.quantize import cost, quantized
from kamerton.models.saved import load_saved, save_model
from kamerton.models.structure import outer_model
from kamerton.plugins.methods.qlora import Qlora
from tiny_engines import HEAD, TEXT, facts_of

HOW = Quantization("nf4", double=True)
IDS = torch.randint(10, 300, (4, 9), generator=torch.Generator().manual_seed(0))
FORM = Labels(("bad", "good"))


def base_of(folder, auto: str = HEAD, how: Quantization = HOW) -> Loaded:
    config = FORM.config if auto == HEAD else {}
    return load_model(folder, auto, config, seed=0, quantization=quantized(folder, auto, config, how))


@pytest.fixture
def loaded(encoder_folder) -> Loaded:
    return base_of(encoder_folder)


def rounded(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}


def test_matrices_of_the_layers_with_whole_blocks_are_rounded_as_bitsandbytes_rounds_and_no_others(
    loaded, encoder_folder
):
    plain = load_model(encoder_folder, HEAD, FORM.config, seed=0).model
    found = rounded(loaded.model)
    fitting = [n for n, m in plain.named_modules() if isinstance(m, nn.Linear) and m.in_features % 64 == 0]
    assert list(found) == fitting
    assert fitting
    for name, module in found.items():
        values, state = quantize_4bit(plain.get_submodule(name).weight.data, quant_type="nf4", compress_statistics=True)
        wanted = dequantize_4bit(values, state)
        assert torch.equal(dequantize_4bit(module.weight.data, module.weight.quant_state), wanted)
    for name, parameter in loaded.model.named_parameters():
        if name.removesuffix(".weight") not in found:
            assert torch.equal(parameter, plain.get_parameter(name)), name


def test_training_after_an_evaluation_has_the_gradients_of_training_before_it(loaded):
    """On a CPU with bf16 instructions bitsandbytes would pack the matrices anew, and lose the way back."""
    model = Qlora().attach(loaded.model, loaded.fresh)

    def gradients() -> dict[str, torch.Tensor]:
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.zero_grad()
        model(input_ids=IDS).logits.pow(2).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=IDS)
    after = gradients()
    lower = [name for name in before if "layer.0" in name and "lora_B" in name]
    assert all(before[name].abs().max() > 0 for name in lower)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_was_saved_loads_over_the_same_rounded_base(loaded, encoder_folder, tmp_path):
    facts = facts_of(encoder_folder)
    model = Qlora().attach(loaded.model, loaded.fresh).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
        wanted = model(input_ids=IDS).logits
        save_model(tmp_path / "model", model, load_tokenizer(facts))
        again = load_saved(tmp_path / "model", FORM, facts).eval()
        assert "quantization_config" in outer_model(again).config.to_dict()
        torch.testing.assert_close(again(input_ids=IDS).logits, wanted, rtol=1e-6, atol=1e-6)


def test_merged_weights_are_those_of_the_four_bits_in_full_precision(loaded):
    """Not those from before the rounding, with which the logits would differ."""
    model = Qlora().attach(loaded.model, loaded.fresh).eval()
    with torch.no_grad():
        wanted = model(input_ids=IDS).logits
        plain = Qlora().merge(copy.deepcopy(model))
        assert not rounded(plain)
        assert "quantization_config" not in outer_model(plain).config.to_dict()
        assert not getattr(plain, "is_loaded_in_4bit", False)
        assert {p.dtype for p in plain.parameters()} == {torch.float32}
        torch.testing.assert_close(plain(input_ids=IDS).logits, wanted, rtol=1e-5, atol=1e-5)


def test_a_model_without_any_whole_block_is_refused(tmp_path, encoder_folder):
    small = BertConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40, vocab_size=99)
    BertForSequenceClassification(small).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="multiple of 64"):
        base_of(tmp_path)


def test_the_bytes_saved_are_those_of_the_tensors(decoder_folder):
    loaded, facts = base_of(decoder_folder, TEXT), facts_of(decoder_folder)
    weights = sum(p.nbytes for p in loaded.model.parameters())
    assert weights < 4 * facts.parameters
    assert f"takes {memory(loaded.model.get_memory_footprint())} instead of" in str(cost(loaded.model, facts))
