"""Rows at the edges of what a model takes: long prompts, long answers, a context filled to the last token, books."""

from __future__ import annotations

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from kamerton.core.records import Encoded, Example, Place
from kamerton.engine.engine import TorchEngine
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.running_text import MaskedText, RunningText
from kamerton.forms.tagging import Tagging
from kamerton.forms.turns import most_shots
from kamerton.forms.writing import Rewriting
from kamerton.models.load import load_tokenizer
from kamerton.text.cells import room_for
from tiny_engines import TEXT, facts_of, tiny_engine
from tiny_models import SENTENCES, tiny_decoder

CONTEXT = 8192
WORDS = " ".join(SENTENCES).split()
WRITING = Dialogue(ask=lambda example: example.text, answers=("Paris",))


def text(words: int, seed: int = 0) -> str:
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(words))


def row(text: str, gold: str, id: int = 0, **fields: object) -> Example:
    return Example(id, Place("rows.jsonl", id + 1), text, gold, fields)


BOOK = text(17_000)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    """The tiny decoder with a context of thousands of tokens."""
    folder = tiny_decoder(tmp_path_factory.mktemp("wide") / "decoder")
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: CONTEXT}))
    samples = WRITING.encode([row("a film", "good")], load_tokenizer(facts_of(folder)), 256)
    return tiny_engine(folder, TEXT, samples, max_new_tokens=4, tokens_per_pass=CONTEXT)


def test_long_prompts_and_answers_are_read_and_written_as_transformers_does(wide):
    examples = [row(text(1_500, seed), text(420, seed + 9), seed) for seed in range(2)]
    items = WRITING.encode(examples, wide.tokenizer, CONTEXT)
    assert all(len(item.tokens) > 4_000 and len(item.targets) > 1_000 and not item.cut for item in items)
    model = AutoModelForCausalLM.from_pretrained(wide.facts.folder).eval()
    for item, prediction in zip(items, WRITING.predict(wide, examples), strict=True):
        first = item.output_positions[0] + 1
        with torch.no_grad():
            table = model(torch.tensor([item.tokens]), logits_to_keep=len(item.targets) + 1).logits[0].log_softmax(-1)
            written = model.generate(torch.tensor([item.tokens[:first]]), max_new_tokens=4, do_sample=False)
        loss = -table[:-1].gather(1, torch.tensor(item.targets)[:, None]).sum().item()
        assert prediction.loss == pytest.approx(loss, rel=1e-5)
        assert prediction.text == wide.tokenizer.decode(written[0, first:], skip_special_tokens=True).strip()


@pytest.mark.parametrize("room", [0, 1, -1])
def test_a_row_that_fills_the_context_to_the_last_token_loses_nothing(wide, room):
    [example] = [row(text(60), text(10))]
    [whole] = WRITING.encode([example], wide.tokenizer, CONTEXT)
    full = len(whole.tokens) + room
    [item] = WRITING.encode([example], wide.tokenizer, full)
    assert item.cut == max(0, -room) and len(item.tokens) == min(full, len(whole.tokens))
    assert item.targets == whole.targets
    [prompt] = WRITING.prompts([example], wide.tokenizer, full - len(whole.targets))
    assert WRITING.flaw(item, prompt, wide.tokenizer) == ""


@pytest.mark.parametrize("context", [128, 1000, 1024])
def test_a_book_is_learnt_whole_in_windows(wide, context):
    [item] = RunningText().encode([row(BOOK, "")], wide.tokenizer, context)
    ids = wide.tokenizer(BOOK, add_special_tokens=False)["input_ids"]
    assert len(BOOK) > 100_000
    assert [target for part in item.sequences for target in part.targets] == [*ids, wide.tokenizer.eos_token_id]
    assert max(len(part.tokens) for part in item.sequences) <= context and not item.cut


def test_a_book_is_measured_whole(wide):
    [prediction] = RunningText().predict(wide, [row(BOOK[:20_000], "")])
    assert prediction.tokens == len(wide.tokenizer(BOOK[:20_000], add_special_tokens=False)["input_ids"])
    assert prediction.loss > 0


def test_a_book_fits_an_encoder_in_windows(encoder_folder):
    tokenizer = load_tokenizer(facts_of(encoder_folder))
    [item] = MaskedText().encode([row(BOOK, "")], tokenizer, 128)
    words = BOOK.split()
    [tagged] = Tagging(tags=("O", "B-X"), by_spaces=True).encode(
        [row(BOOK, json.dumps(["O"] * (len(words) - 1) + ["B-X"]), tokens=words)], tokenizer, 128
    )
    for one in (item, tagged):
        assert len(one.sequences) > 300
        assert all(len(part.tokens) <= 128 for part in one.sequences)
    assert sum(target >= 0 for part in tagged.sequences for target in part.targets) == len(words)


def test_a_long_source_loses_its_end_and_says_so(seq2seq_folder):
    tokenizer = load_tokenizer(facts_of(seq2seq_folder))
    form = Rewriting(ask=lambda example: example.text, answers=("one",))
    [item] = form.encode([row(BOOK, text(300))], tokenizer, 128)
    whole = len(tokenizer(BOOK)["input_ids"]) + len(tokenizer(text(300))["input_ids"])
    assert len(item.tokens) == len(item.targets) == 128
    assert item.cut == whole - 256


def test_answers_of_a_thousand_tokens_may_be_written_whole():
    assert room_for([800] * 20) == 1_001
    assert room_for([50_000] * 20) == 1_024


@pytest.mark.parametrize("fit", range(10))
def test_as_many_shots_are_shown_as_fit_without_writing_all_prompts(fit):
    made: list[int] = []

    def prompt(without: int) -> Encoded:
        made.append(without)
        return Encoded((without,), (), (), cut=max(0, 8 - without - fit))

    assert most_shots(8, prompt).tokens == (max(0, 8 - fit),)
    assert len(made) == len(set(made)) <= 5
    assert most_shots(0, prompt).tokens == (0,)
