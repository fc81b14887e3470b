"""Answers are asked for, chosen and written as they were trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from kamerton.core.contracts import Engine
from kamerton.core.records import Example, Place
from kamerton.forms.dialogue import Dialogue
from kamerton.models.load import load_tokenizer
from tiny_engines import TEXT, facts_of, tiny_engine

LABELS = ("bad", "good", "плохо")
CHOOSING = Dialogue(ask=lambda example: f"{example.text} Which label fits: {', '.join(LABELS)}?", choices=LABELS)
WRITING = Dialogue(ask=lambda example: example.text, answers=("Paris", "доброе утро"))
TEXTS = (
    ("A warm and funny film.", "good"),
    ("Верните мне эти два часа.", "плохо"),
    ("I want it back.", "bad"),
    ("Назови столицу.", "good"),
)
EXAMPLES = [Example(i, Place("rows.csv", i + 2), text, gold) for i, (text, gold) in enumerate(TEXTS)]
TURN = "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[ASK] {{ m['content'] }} [/ASK]{% else %}"
TEMPLATES = {
    "a space before the answer": TURN + " {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}",
    "a trimmed answer": TURN + "{{ m['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}",
    "an answer in quotes": TURN + "\"{{ m['content'] }}\"{{ eos_token }}{% endif %}{% endfor %}",
}


@pytest.fixture(scope="module")
def plain(decoder_folder: Path) -> Engine:
    """An engine with the tiny model's own template."""
    samples = WRITING.encode(EXAMPLES, load_tokenizer(facts_of(decoder_folder)), 256)
    return tiny_engine(decoder_folder, TEXT, samples[:3], max_new_tokens=6)


@pytest.fixture
def engine(plain: Engine, decoder_folder: Path) -> Engine:
    """The same with a tokenizer that a test may change."""
    return replace(plain, tokenizer=load_tokenizer(facts_of(decoder_folder)))


@pytest.mark.parametrize("template", [None, *TEMPLATES])
def test_a_label_is_weighed_as_it_is_trained(engine, decoder_folder, template):
    """Against the sum of the model's own log-probabilities over whole conversations."""
    engine.tokenizer.chat_template = TEMPLATES.get(template, engine.tokenizer.chat_template)
    model = AutoModelForCausalLM.from_pretrained(decoder_folder).eval()
    for example, prediction in zip(EXAMPLES, CHOOSING.predict(engine, EXAMPLES), strict=True):
        scores = []
        for label in LABELS:
            [trained] = CHOOSING.encode([replace(example, gold=label)], engine.tokenizer, 256)
            with torch.no_grad():
                table = model(input_ids=torch.tensor([trained.tokens])).logits[0].log_softmax(-1)
            scores.append(
                sum(
                    table[at, token].item() for at, token in zip(trained.output_positions, trained.targets, strict=True)
                )
            )
        shares = np.exp(scores) / np.exp(scores).sum()
        assert prediction.text == LABELS[int(np.argmax(shares))]
        assert prediction.score == pytest.approx(max(shares), rel=1e-4)
        assert prediction.loss == pytest.approx(-np.log(shares[LABELS.index(example.gold)]), rel=1e-4)


@pytest.mark.parametrize("template", [None, *TEMPLATES])
def test_the_loss_of_a_written_answer_is_that_of_its_training(engine, template):
    engine.tokenizer.chat_template = TEMPLATES.get(template, engine.tokenizer.chat_template)
    encoded = WRITING.encode(EXAMPLES, engine.tokenizer, 256)
    predictions = WRITING.predict(engine, EXAMPLES)
    assert [p.loss for p in predictions] == pytest.approx(engine.losses(encoded).tolist(), rel=1e-6)
    assert [p.tokens for p in predictions] == [len(item.targets) for item in encoded]


def test_shots_come_as_earlier_turns(engine):
    seen = []

    class Watched:
        tokenizer, max_tokens, max_new_tokens = engine.tokenizer, engine.max_tokens, engine.max_new_tokens

        def answer(self, items, prompts):
            seen.extend(prompts)
            return engine.losses(items), [""] * len(prompts)

    WRITING.predict_untuned(Watched(), EXAMPLES[2:3], EXAMPLES[:2])
    text = engine.tokenizer.decode(seen[0].tokens)
    order = [part for example in EXAMPLES[:2] for part in (example.text, example.gold)] + [EXAMPLES[2].text]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert EXAMPLES[2].gold not in text.rpartition(EXAMPLES[2].text)[2]


@pytest.mark.parametrize("room", [1, 9, 30, 60])
def test_shots_that_do_not_fit_are_left_out_and_the_end_of_the_request_stays(engine, room):
    tight = replace(engine, max_tokens=room + engine.max_new_tokens)
    bare = WRITING.prompts(EXAMPLES, engine.tokenizer, room)
    for example, prompt in zip(EXAMPLES, bare, strict=True):
        [whole] = WRITING.prompts([example], engine.tokenizer, 256)
        assert prompt.tokens == whole.tokens[-room:]
        assert prompt.cut == max(0, len(whole.tokens) - room)
    assert len(WRITING.predict_untuned(tight, EXAMPLES, EXAMPLES[:3])) == len(EXAMPLES)


@pytest.mark.parametrize("room", [24, 40, 60])
def test_a_long_prompt_loses_its_start_in_training_as_in_serving_and_the_answer_stays_whole(engine, room):
    """Cut at its end, the row would lose its answer, and the model would never see a long request answered."""
    [asked] = [replace(EXAMPLES[0], text=f"{EXAMPLES[0].text} " * 40)]
    [whole] = WRITING.encode([asked], engine.tokenizer, 10_000)
    [short] = WRITING.encode([asked], engine.tokenizer, room)
    [prompt] = WRITING.prompts([asked], engine.tokenizer, room - len(whole.targets))
    assert short.targets == whole.targets
    assert short.tokens == (*prompt.tokens, *whole.targets)
    assert short.cut == prompt.cut == len(whole.tokens) - room
    assert WRITING.flaw(short, prompt, engine.tokenizer) == ""
    other = replace(prompt, tokens=(*prompt.tokens[:-1], prompt.tokens[-1] + 1))
    assert "differently" in str(WRITING.flaw(short, other, engine.tokenizer))


def test_what_serving_cuts_is_told_with_the_answer(engine):
    long = replace(EXAMPLES[0], text=f"{EXAMPLES[0].text} " * 60)
    for form in (WRITING, CHOOSING):
        predictions = form.predict(engine, [long, EXAMPLES[1]])
        [whole] = form.prompts([long], engine.tokenizer, 10_000)
        room = (
            engine.max_new_tokens
            if form is WRITING
            else max(len(o) for o in form._written(long, form.choices, engine.tokenizer))
        )
        assert [one.cut for one in predictions] == [len(whole.tokens) - (engine.max_tokens - room), 0]


@pytest.mark.parametrize("form", [WRITING, CHOOSING], ids=["writing", "choosing"])
def test_answers_longer_than_all_the_room_do_no_harm(engine, form):
    assert len(form.predict(replace(engine, max_tokens=3), EXAMPLES)) == len(EXAMPLES)


def test_no_shots_means_none():
    assert CHOOSING.shots(EXAMPLES, 0, seed=1) == []
    assert WRITING.shots(EXAMPLES, 0, seed=1) == []
    assert {shot.gold for shot in CHOOSING.shots(EXAMPLES, 1, seed=1)} == set(LABELS)


def test_a_template_that_changes_its_prompt_once_answered_teaches_the_answer_behind_servings_prompt(engine):
    engine.tokenizer.chat_template = "{{ messages | length }}" + engine.tokenizer.chat_template
    items = WRITING.encode(EXAMPLES, engine.tokenizer, 256)
    prompts = WRITING.prompts(EXAMPLES, engine.tokenizer, 256)
    assert not any(WRITING.flaw(item, one, engine.tokenizer) for item, one in zip(items, prompts, strict=True))


def test_a_template_that_writes_no_answer_is_the_fault_of_each_row(engine):
    engine.tokenizer.chat_template = "{{ messages | length }}"
    assert all("once it is answered" in str(item.fault) for item in WRITING.encode(EXAMPLES, engine.tokenizer, 256))
