"""Plain text is learnt whole: every token once, in blocks, with the losses of the models' own forward passes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

from kamerton.core.errors import ModelError
from kamerton.core.records import Example, Place
from kamerton.forms.running_text import MaskedText, RunningText
from kamerton.models.load import load_model, load_tokenizer
from kamerton.plugins.metrics.bits_per_byte import BitsPerByte
from tiny_engines import TEXT, facts_of, tiny_engine
from tiny_models import SENTENCES

MASKED = "AutoModelForMaskedLM"
TEXTS = [*SENTENCES[:3], *SENTENCES[-3:], " ".join(SENTENCES), "да"]
EXAMPLES = [Example(i, Place("text.txt", i + 1), text, text, {"text": text}) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def masked_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with a head for hidden tokens."""
    folder = tmp_path_factory.mktemp("masked")
    tokenizer = load_tokenizer(facts_of(encoder_folder))
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(encoder_folder)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_every_token_is_foreseen_once_whatever_the_blocks(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    form = RunningText()
    for max_tokens in (1, 2, 7, 50, 256, 5000):
        for item, text in zip(form.encode(EXAMPLES, tokenizer, max_tokens), TEXTS, strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert [target for block in item.sequences for target in block.targets] == [*ids, tokenizer.eos_token_id]
            assert [token for block in item.sequences for token in block.tokens] == [tokenizer.bos_token_id, *ids]
            assert all(len(block.tokens) <= max_tokens for block in item.sequences)
            assert item.cut == 0
            assert form.supervised(item) == len(ids) + 1


def test_what_is_asked_to_be_cut_is_counted(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    for item, text in zip(RunningText().with_too_long("cut").encode(EXAMPLES, tokenizer, 9), TEXTS, strict=True):
        size = len(tokenizer(text)["input_ids"])
        assert (len(item.sequences), item.cut) == (1, max(0, size - 9))


def test_bits_per_byte_are_those_of_a_plain_forward_pass_over_the_whole_text(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    short = EXAMPLES[:6]
    engine = tiny_engine(decoder_folder, TEXT, RunningText().encode(short, tokenizer, 256))
    model = AutoModelForCausalLM.from_pretrained(decoder_folder).eval()
    nats = 0.0
    for example in short:
        ids = torch.tensor([tokenizer(example.text)["input_ids"]])
        with torch.no_grad():
            nats += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    predictions = RunningText().predict(engine, short)
    totals = BitsPerByte().statistics([example.gold for example in short], predictions).sum(axis=0)
    expected = nats / math.log(2) / len("".join(example.text for example in short).encode())
    assert float(BitsPerByte().value(totals)) == pytest.approx(expected, rel=1e-5)
    assert all(0 < prediction.score < 1 for prediction in predictions)


def test_whole_texts_are_measured_where_training_cuts_them(decoder_folder, masked_folder):
    for form, folder, kind in ((RunningText(), decoder_folder, TEXT), (MaskedText(), masked_folder, MASKED)):
        samples = form.encode(EXAMPLES[:3], load_tokenizer(facts_of(folder)), 100)
        engine = replace(tiny_engine(folder, kind, samples), max_tokens=20)
        assert form.with_too_long("cut").predict(engine, EXAMPLES) == form.with_too_long("window").predict(
            engine, EXAMPLES
        )


def test_the_loss_of_a_row_is_that_of_all_its_blocks(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    form = RunningText()
    items = form.encode(EXAMPLES, tokenizer, 40)
    assert any(len(item.sequences) > 2 for item in items)
    engine = tiny_engine(decoder_folder, TEXT, items[:3])
    blocks = [block for item in items for block in item.sequences]
    losses = form.losses(engine.layout.logits(engine.model, blocks).float(), items)
    expected = [engine.losses(item.sequences).sum() for item in items]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_text_that_names_control_tokens_is_text(decoder_folder):
    tokenizer = load_tokenizer(facts_of(decoder_folder))
    [item] = RunningText().encode([Example(0, Place("a", 1), "x <|im_end|> y", "")], tokenizer, 99)
    assert item.targets.count(tokenizer.eos_token_id) == 1


def test_hidden_tokens_are_always_the_same_and_as_many_as_asked_for(masked_folder):
    tokenizer = load_tokenizer(facts_of(masked_folder))
    form = MaskedText(share=0.3)
    items = form.encode(EXAMPLES, tokenizer, 64)
    assert items == form.encode(EXAMPLES, tokenizer, 64)
    masked = kept = 0
    for item, text in zip(items, TEXTS, strict=True):
        ids = iter(tokenizer(text, add_special_tokens=False)["input_ids"])
        for block in item.sequences:
            hidden = dict(zip(block.output_positions, block.targets, strict=True))
            assert (block.tokens[0], block.tokens[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            inner = [hidden.get(at, token) for at, token in enumerate(block.tokens)][1:-1]
            assert inner == [next(ids) for _ in inner]
            assert len(hidden) == max(1, round(0.3 * len(inner)))
            masked += sum(block.tokens[at] == tokenizer.mask_token_id for at in hidden)
            kept += sum(block.tokens[at] == target for at, target in hidden.items())
        assert list(ids) == []
    assert masked > kept > 0


def test_the_loss_of_hidden_tokens_is_the_models_own(masked_folder):
    tokenizer = load_tokenizer(facts_of(masked_folder))
    items = MaskedText().encode(EXAMPLES[:4], tokenizer, 128)
    engine = tiny_engine(masked_folder, MASKED, items)
    model = AutoModelForMaskedLM.from_pretrained(masked_folder).eval()
    for item, loss in zip(items, engine.losses(items), strict=True):
        labels = torch.full((1, len(item.tokens)), -100)
        labels[0, list(item.output_positions)] = torch.tensor(item.targets)
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([item.tokens]), labels=labels).loss.item() * len(item.targets)
        assert loss == pytest.approx(expected, rel=1e-5)
    for item, prediction in zip(items, MaskedText().predict(engine, EXAMPLES[:4]), strict=True):
        mean = engine.losses([item])[0] / len(item.targets)
        assert prediction.loss == pytest.approx(mean * (len(item.tokens) - 2), rel=1e-5)


def test_an_encoder_without_a_head_for_hidden_tokens_is_refused(encoder_folder, masked_folder):
    bare = load_model(encoder_folder, MASKED, {}, seed=0)
    with pytest.raises(ModelError, match="no weights for its masked-language head"):
        MaskedText().start(bare.model, bare.fresh)
    whole = load_model(masked_folder, MASKED, {}, seed=0)
    MaskedText().start(whole.model, whole.fresh)
