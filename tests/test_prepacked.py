"""Packed weights give the usual products, and a model is as it was once they are gone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kamerton.core.files import read_sealed, write_sealed
from kamerton.core.records import Encoded
from kamerton.kernels import prepacked as prepacked_module
from kamerton.kernels.prepacked import prepacked, prepacking_pays
from kamerton.models.load import load_model
from tiny_engines import TEXT, tiny_engine


@pytest.fixture
def everywhere(monkeypatch):
    """Pack all layers, however small they are and whatever this machine gains by it."""
    monkeypatch.setattr(prepacked_module, "prepacking_pays", lambda: True)
    monkeypatch.setattr(prepacked_module, "SMALL", 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 33, 130])
def test_packed_products_are_the_usual_ones(everywhere, rows, bias):
    generator = torch.Generator().manual_seed(rows)
    layer, x = nn.Linear(96, 200, bias=bias), torch.randn(2, rows, 96, generator=generator)
    with torch.no_grad():
        usual = layer(x)
        with prepacked(layer, 4):
            got = layer(x)
    assert got.shape == usual.shape
    torch.testing.assert_close(got, usual, rtol=1e-5, atol=1e-5)


def test_a_model_is_itself_again_whatever_happened(everywhere, decoder_folder):
    model = load_model(decoder_folder, TEXT, {}, seed=0).model.eval()
    ids = torch.arange(5, 13).unsqueeze(0)
    with torch.no_grad():
        usual = model(input_ids=ids).logits
        with prepacked(model, 4):
            torch.testing.assert_close(model(input_ids=ids).logits, usual, rtol=1e-4, atol=1e-5)
        with pytest.raises(IndexError), prepacked(model, 4):
            model(input_ids=ids + 10_000)
        assert torch.equal(model(input_ids=ids).logits, usual)
    assert not any("forward" in vars(module) for module in model.modules())


def test_layers_of_other_kinds_and_types_stay_as_they_are(everywhere):
    layers = nn.Sequential(nn.Linear(8, 8).to(torch.bfloat16), nn.LayerNorm(8), nn.Bilinear(8, 8, 8))
    with prepacked(layers, 4):
        assert not any("forward" in vars(module) for module in layers.modules())


def test_answers_are_the_same_with_packed_weights(everywhere, decoder_folder, monkeypatch):
    engine = tiny_engine(decoder_folder, TEXT, [Encoded((7, 8, 9), (1,), (9,)), Encoded((20, 21), (0,), (21,))])
    prompts = [Encoded((7, 8, 9 + i, *range(40, 40 + i)), (), ()) for i in range(6)]
    with_packed = engine.generate(prompts)
    monkeypatch.setattr(prepacked_module, "FEW", 100)
    assert with_packed == engine.generate(prompts)


def test_a_machine_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setenv("KAMERTON_CACHE", str(tmp_path))
    prepacking_pays.cache_clear()
    pays = prepacking_pays()
    [path] = tmp_path.glob("packed-products-*.ratio")
    ratio = float(read_sealed(path))
    assert ratio > 0  # right, at least: how fast is the machine's own affair
    assert pays == (ratio >= prepacked_module.WORTH)
    write_sealed(path, b"0.0")
    prepacking_pays.cache_clear()
    assert not prepacking_pays()
    prepacking_pays.cache_clear()


def test_few_rows_are_not_worth_a_copy(everywhere):
    layer = nn.Linear(8, 8)
    with prepacked(layer, prepacked_module.FEW - 1):
        assert "forward" not in vars(layer)


def test_an_encoder_decoder_writes_the_same_with_packed_weights(everywhere, seq2seq_folder, monkeypatch):
    rows = [Encoded((7, 8, 9, 1), (0, 1), (5, 1)), Encoded((20, 21, 1), (0, 1), (6, 1))]
    engine = tiny_engine(seq2seq_folder, "AutoModelForSeq2SeqLM", rows)
    prompts = [Encoded((7, 8, 9 + i, *range(40, 40 + i), 1), (), ()) for i in range(6)]
    with_packed = engine.generate(prompts)
    monkeypatch.setattr(prepacked_module, "FEW", 100)
    assert with_packed == engine.generate(prompts)
