"""The form of numbers: any unit trains alike, and what is saved gives the unit of the data by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kamerton.core import registry
from kamerton.core.records import Example, Place
from kamerton.engine.engine import TorchEngine
from kamerton.engine.layout import Plain
from kamerton.forms.number import Number
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.saved import load_saved, save_model
from kamerton.plugins.tasks.regression import Regression
from kamerton.text.cells import number_in, written_number
from tiny_engines import HEAD, facts_of, tiny_engine

TEXTS = ("A warm and funny film.", "I want those two hours back.", "Тёплый и смешной фильм.", "The train leaves.")
METHODS = ("full", "lora", "head")


def examples(scale: float, shift: float) -> list[Example]:
    return [
        Example(i, Place("f", i + 1), text, written_number(scale * i + shift, exact=True))
        for i, text in enumerate(TEXTS)
    ]


def form_of(rows: list[Example]) -> Number:
    return Regression().form("encoder", rows)


def trained(folder: Path, word: str, rows: list[Example], steps: int = 60) -> torch.nn.Module:
    form, facts = form_of(rows), facts_of(folder)
    loaded = load_model(folder, form.model_class, form.config, seed=0)
    form.start(loaded.model, loaded.fresh)
    model = registry.choose("methods", word)().attach(loaded.model, loaded.fresh)
    items = form.encode(rows, load_tokenizer(facts), facts.context)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    model.train()
    for _ in range(steps):
        loss = form.losses(Plain().logits(model, items), items).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def plain_numbers(model: torch.nn.Module, tokenizer) -> list[float]:
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits[:, 0].tolist()


@pytest.mark.parametrize("word", METHODS)
def test_the_saved_model_gives_the_unit_of_the_data_without_kamerton(encoder_folder, tmp_path, word):
    rows = examples(scale=30_000, shift=1_000_000)
    form, facts = form_of(rows), facts_of(encoder_folder)
    model = trained(encoder_folder, word, rows)
    engine = TorchEngine(model, load_tokenizer(facts), facts, Plain(), facts.context, 1, 512)
    before = [float(one.text) for one in form.predict(engine, rows)]
    save_model(tmp_path / "model", model, load_tokenizer(facts))
    after = [float(one.text) for one in form.predict(engine, rows)]
    saved = load_saved(tmp_path / "model", form, facts).eval()
    assert plain_numbers(saved, engine.tokenizer) == pytest.approx(before, rel=1e-5)
    assert after == pytest.approx(before, rel=1e-5)
    assert abs(np.mean(before) - 1_045_000) < 30_000


def test_a_fully_trained_model_loads_in_transformers_alone(encoder_folder, tmp_path):
    rows = examples(scale=0.001, shift=0.01)
    model = trained(encoder_folder, "full", rows)
    wanted = plain_numbers(model, AutoTokenizer.from_pretrained(encoder_folder))
    save_model(tmp_path / "model", model, load_tokenizer(facts_of(encoder_folder)))
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert (alone.config.num_labels, alone.config.problem_type) == (1, "regression")
    assert plain_numbers(alone, AutoTokenizer.from_pretrained(tmp_path / "model")) == pytest.approx(wanted, rel=1e-5)


def test_training_is_the_same_in_any_unit(encoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    small, large = (
        (np.array(plain_numbers(trained(encoder_folder, "full", examples(*unit), 20), tokenizer)) - unit[1]) / unit[0]
        for unit in ((1.0, 0.0), (50_000.0, 300_000.0))
    )
    np.testing.assert_allclose(small, large, atol=2e-2)


def test_a_head_that_was_trained_before_keeps_its_numbers(encoder_folder, tmp_path):
    rows = examples(scale=10, shift=100)
    save_model(tmp_path / "first", trained(encoder_folder, "full", rows), load_tokenizer(facts_of(encoder_folder)))
    loaded = load_model(tmp_path / "first", HEAD, form_of(rows).config, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    before = plain_numbers(loaded.model.eval(), tokenizer)
    Number(mean=7.0, spread=3.0).start(loaded.model, loaded.fresh)
    assert plain_numbers(loaded.model, tokenizer) == pytest.approx(before, rel=1e-5)


def test_an_untuned_model_averages_its_nearest_neighbours(encoder_folder):
    rows = examples(scale=1, shift=0)
    form = form_of(rows)
    engine = tiny_engine(encoder_folder, form.untuned_class, form.encode(rows, AutoTokenizer.from_pretrained(
        encoder_folder), 128))  # fmt: skip
    assert {one.text for one in form.predict_untuned(engine, rows, ())} == {"1.5"}
    assert [one.text for one in form.predict_untuned(engine, rows, rows[2:3])] == ["2"] * 4


def test_shots_come_from_every_part_of_the_range():
    rows = [Example(i, Place("f", i), f"text {i}", str(i)) for i in range(100)]
    shots = Number(mean=0.0, spread=1.0).shots(rows, 2, seed=0)
    assert sorted(int(shot.gold) // 20 for shot in shots) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("cell", "number"), [("3,5", 3.5), (" -2 ", -2.0), (4, 4.0), ("1e3", 1000.0), ("\u22125", -5.0), ("3,1415", 3.1415)]
)
def test_numbers_are_read_with_point_or_comma(cell, number):
    assert number_in(cell) == number


@pytest.mark.parametrize("cell", ["1,234", "1,234,567", "много", "", "nan", "inf", True, [1], "3,5,6"])
def test_what_is_no_clear_number_is_refused_with_a_reason(cell):
    with pytest.raises(ValueError, match="number"):
        number_in(cell)
