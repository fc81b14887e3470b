"""Models that read with one half and write with the other: their losses are their own, and they learn."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from kamerton.core.errors import ModelError
from kamerton.core.records import Example, Place
from kamerton.engine.engine import TorchEngine
from kamerton.forms.turns import END_UNTRAINED
from kamerton.forms.writing import Rewriting
from kamerton.models.load import load_model, load_tokenizer
from tiny_engines import facts_of, tiny_engine

REWRITES = "AutoModelForSeq2SeqLM"
SCRIPT = Path(__file__).parent.parent / "examples" / "pair_encoders.py"
ROWS = (("good morning", "доброе утро"), ("one, two, three", "один, два"), ("the rain", "дождь"), ("a clock", "часы"))
EXAMPLES = [Example(i, Place("rows.csv", i + 2), source, target) for i, (source, target) in enumerate(ROWS)]
FORM = Rewriting(ask=lambda example: f"translate: {example.text}", answers=tuple(target for _, target in ROWS))


@pytest.fixture(scope="module")
def paired_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny BERTs, one of which writes."""
    spec = importlib.util.spec_from_file_location("pair_encoders", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("paired")
    module.pair(encoder_folder, folder)
    return folder


@pytest.fixture(params=["seq2seq_folder", "paired_folder"])
def engine(request: pytest.FixtureRequest) -> TorchEngine:
    """A T5, and a pair of encoders."""
    folder = request.getfixturevalue(request.param)
    samples = FORM.encode(EXAMPLES, load_tokenizer(facts_of(folder)), 100)
    return tiny_engine(folder, REWRITES, samples, max_new_tokens=12)


def test_losses_are_those_of_the_models_own_forward_pass(engine):
    items = FORM.encode(EXAMPLES, engine.tokenizer, 100)
    model = AutoModelForSeq2SeqLM.from_pretrained(engine.facts.folder).eval()
    for item, prediction in zip(items, FORM.predict(engine, EXAMPLES), strict=True):
        given = torch.tensor([[model.config.decoder_start_token_id, *item.targets[:-1]]])
        with torch.no_grad():
            table = model(input_ids=torch.tensor([item.tokens]), decoder_input_ids=given).logits[0].log_softmax(-1)
        own = -sum(table[at, target].item() for at, target in enumerate(item.targets))
        assert prediction.loss == pytest.approx(own, rel=1e-4)
        assert prediction.tokens == len(item.targets)


def test_what_is_read_is_what_the_tokenizer_makes_of_it(engine):
    for prompt, example in zip(FORM.prompts(EXAMPLES, engine.tokenizer, 100), EXAMPLES, strict=True):
        assert list(prompt.tokens) == engine.tokenizer(f"translate: {example.text}")["input_ids"]


def test_it_learns_to_write_the_answers(engine):
    items = FORM.encode(EXAMPLES, engine.tokenizer, 100)
    optimizer = torch.optim.AdamW(engine.model.parameters(), lr=1e-2)
    torch.manual_seed(0)
    for _ in range(70):
        loss = FORM.losses(engine.layout.logits(engine.model, items).float(), items).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    predictions = FORM.predict(engine, EXAMPLES)
    golds = [engine.tokenizer.decode(item.targets, skip_special_tokens=True).strip() for item in items]
    assert [prediction.text for prediction in predictions] == golds


def test_both_sides_are_cut_and_counted(engine):
    [whole] = FORM.encode(EXAMPLES[:1], engine.tokenizer, 100)
    [short] = FORM.encode(EXAMPLES[:1], engine.tokenizer, 3)
    assert short.targets == whole.targets[:3]
    assert short.tokens[-1] == whole.tokens[-1]
    assert short.cut == len(whole.tokens) + len(whole.targets) - len(short.tokens) - len(short.targets)
    prompt = FORM.prompts(EXAMPLES[:1], engine.tokenizer, 3)[0]
    assert FORM.flaw(short, prompt, engine.tokenizer) == ""
    [prompt], endless = FORM.prompts(EXAMPLES[:1], engine.tokenizer, 100), replace(whole, targets=whole.targets[:-1])
    assert FORM.flaw(endless, prompt, engine.tokenizer) == END_UNTRAINED


def test_shots_stand_before_the_source_as_far_as_they_fit(engine):
    seen = []

    class Watched:
        tokenizer, max_tokens, max_new_tokens = engine.tokenizer, 100, 5

        def answer(self, items, prompts):
            seen.extend(prompts)
            return engine.losses(items), [""] * len(prompts)

    FORM.predict_untuned(Watched(), EXAMPLES[:1], EXAMPLES[1:3])
    before = "translate: one, two, three\nодин, два\n\ntranslate: the rain\nдождь\n\ntranslate: good morning"
    assert (
        list(seen[0].tokens) == engine.tokenizer(before)["input_ids"][:100]
        or seen[0].tokens == FORM.prompts(EXAMPLES[:1], engine.tokenizer, 100)[0].tokens
    )


def test_a_model_that_does_not_say_what_its_answers_begin_with_is_refused(paired_folder, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in paired_folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    config = json.loads((broken / "config.json").read_text())
    config["decoder_start_token_id"] = None
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "generation_config.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="does not state which token an answer begins with"):
        load_model(broken, REWRITES, {}, seed=0)
