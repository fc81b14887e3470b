"""The odd ones among the families of `make bench-families`: each was a traceback, or refused, or padded once."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM

from family_trials import WORKS, Trial, try_family
from kamerton.core import registry
from kamerton.core.records import Encoded
from kamerton.engine.hf_generate import can_cache
from kamerton.engine.layout import Plain, candidate_layouts
from kamerton.engine.verify import reads_ahead
from kamerton.models.structure import backbone_of, linear_layers
from tiny_families import tiny_family

ODD = {
    "mamba": "padded",  # PEFT bars two of its maps
    "llama4_text": "packed",  # its router is a linear map that returns two tensors, and its prefix names no module
    "opt": "packed",  # its head passes the base model by
    "stablelm": "packed",  # its layers do not get what is passed to the model
    "switch_transformers": "padded on both sides",
    "qwen3_5_text": "padded",  # linear attention and attention by turns
}
"""Families, and their layouts."""


@pytest.mark.parametrize("family", ODD)
def test_an_odd_family_is_tuned_and_exported(family, nursery, tmp_path):
    trial = try_family(family, nursery, tmp_path / family, ("lora",))
    assert (trial.methods, set(trial.exports.values())) == ({"lora": WORKS}, {WORKS})
    assert trial.layout == ODD[family]


def test_what_takes_more_than_text_is_not_tried(nursery, tmp_path):
    assert "more than text" in try_family("gemma3", nursery, tmp_path / "model", ("lora",)).unbuilt


def test_a_trial_tells_failures_from_refusals():
    trial = Trial("one", methods={"lora": "its layers have no linear map", "full": "failed: KeyError: 'x'"})
    assert trial.failures == ["full: failed: KeyError: 'x'"]
    assert not trial.works


def test_linear_attention_alone_is_answered_without_a_cache(tmp_path):
    folder = tiny_family("qwen3_next", tmp_path / "model", layer_types=["linear_attention"] * 2)
    assert not can_cache(AutoModelForCausalLM.from_pretrained(folder), 0)
    assert can_cache(AutoModelForCausalLM.from_pretrained(tiny_family("llama", tmp_path / "llama")), 0)


def test_what_reads_ahead_is_not_taught_to_write(tmp_path):
    row = Encoded(tuple(range(10, 20)), (), ())
    for family, ahead in (("llama", False), ("xlnet", True), ("cpmant", True)):
        model = AutoModelForCausalLM.from_pretrained(tiny_family(family, tmp_path / family))
        assert reads_ahead(model, row) == ahead


def test_a_model_with_prompt_tokens_is_run_by_its_own_forward_pass(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_family("zamba", tmp_path / "model"))
    prompted = registry.choose("methods", "prompt-tuning")().attach(model, ())
    assert [type(way) for way in candidate_layouts(prompted)] == [Plain]  # the others would leave the prompt tokens out


def test_routers_are_no_linear_layers(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_family("llama4_text", tmp_path / "model"))
    assert backbone_of(model) is model.model
    assert not [name for name in linear_layers(model) if name.endswith("router")]
    falcon = AutoModelForCausalLM.from_pretrained(tiny_family("falcon", tmp_path / "falcon"))
    assert linear_layers(falcon)  # its own kind of linear layer is just a product
