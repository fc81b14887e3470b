"""Sliding windows, soft caps and sinks in packed rows: what each family's own forward pass computes, row by row."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from kamerton.core.records import Encoded
from kamerton.engine.layout import Packed, Padded, Plain, Unpadded, in_mode
from kamerton.engine.verify import prove_layout, windows_below, with_long_row
from tiny_families import tiny_family

WINDOW = {"sliding_window": 8}
FAMILIES = {
    "mistral": ("AutoModelForCausalLM", WINDOW),
    "gemma2": ("AutoModelForCausalLM", WINDOW),
    "gemma3_text": ("AutoModelForCausalLM", WINDOW),
    "cohere2": ("AutoModelForCausalLM", WINDOW),
    "gpt_oss": ("AutoModelForCausalLM", WINDOW),
    "modernbert": ("AutoModelForMaskedLM", {"local_attention": 12}),
}
ROWS = [Encoded(tuple(range(5, 5 + n)), (0, n // 2, n - 1), (7, 8, 9)) for n in (40, 6, 23, 23)]


def outcome(model, layout):
    """Compute logits and the gradients of all weights."""
    with in_mode(model, training=False):
        logits = layout.logits(model, ROWS)
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
    return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_has_the_windows_of_the_models_own_rows(family, tmp_path):
    auto, window = FAMILIES[family]
    model = getattr(transformers, auto).from_pretrained(tiny_family(family, tmp_path / "model"), **window)
    for weight in model.parameters():  # random models attend to all alike
        weight.data.mul_(3)
    for got, wanted in zip(outcome(model, Packed()), outcome(model, Unpadded(Plain())), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    everything = getattr(transformers, auto).from_pretrained(tmp_path / "model", **dict.fromkeys(window, 4096))
    everything.load_state_dict(model.state_dict())
    far = outcome(everything, Packed())[0] - outcome(model, Packed())[0]
    assert far.abs().max() > 1e-3  # the window matters in these rows


def test_a_row_longer_than_the_window_stands_in_the_proof(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_family("llama4_text", tmp_path / "model"), attention_chunk_size=8)
    short = [Encoded(tuple(range(5, 5 + n)), (n - 1,), (7,)) for n in (4, 6)]
    assert windows_below(model, 64) == [8]
    assert [len(row.tokens) for row in with_long_row(model, short, 64)] == [4, 6, 13]
    assert with_long_row(model, short, 8) == short  # no row of this run is longer
    assert isinstance(prove_layout(model, lambda way: way.logits(model, short)), Packed)
    long = with_long_row(model, short, 64)
    assert isinstance(prove_layout(model, lambda way: way.logits(model, long)), Padded)
