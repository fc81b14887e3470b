"""What is measured and what is written is read once, and gives what each gives alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kamerton.core.records import Encoded, Example, Place
from kamerton.engine.engine import TorchEngine
from kamerton.engine.prefill import decoding_batches, merge
from kamerton.forms.conversation import Conversation
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.writing import Rewriting
from kamerton.models.load import load_tokenizer
from tiny_engines import TEXT, facts_of, tiny_engine

WORDS = st.lists(st.integers(10, 14), min_size=1, max_size=6).map(tuple)
PROMPTS = st.lists(WORDS, max_size=8)
NEW = 5
TURNS = [
    {"role": "user", "content": "Name the capital of France."},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "И столицу России?"},
    {"role": "assistant", "content": "Москва."},
]
EXAMPLES = [
    Example(i, Place("rows.csv", i + 2), text, gold, {"messages": TURNS})
    for i, (text, gold) in enumerate((("A warm film.", "good"), ("Верните мне эти два часа.", "плохо"), ("one", "two")))
]
WRITING = Dialogue(ask=lambda example: example.text, answers=("good", "плохо"))
TALKING = Conversation(train_on="assistant", answers=("Paris.",))
REWRITING = Rewriting(ask=lambda example: example.text, answers=("good", "плохо"))


def asked(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Encoded:
    """An answer after a prompt, each token read at the one before it."""
    first = len(prompt) - 1
    return Encoded((*prompt, *answer), tuple(range(first, first + len(answer))), answer)


def prompt(tokens: tuple[int, ...]) -> Encoded:
    return Encoded(tokens, (), ())


@pytest.fixture(scope="module")
def decoder(decoder_folder: Path) -> TorchEngine:
    samples = [asked((7, 8, 9), (11, 3)), asked((20,), (30, 31, 3))]
    return tiny_engine(decoder_folder, TEXT, samples, max_new_tokens=NEW, tokens_per_pass=64)


@pytest.fixture(scope="module")
def rewriter(seq2seq_folder: Path) -> TorchEngine:
    samples = REWRITING.encode(EXAMPLES, load_tokenizer(facts_of(seq2seq_folder)), 100)
    return tiny_engine(seq2seq_folder, "AutoModelForSeq2SeqLM", samples, max_new_tokens=NEW)


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[list[int]]:
    """Count the tokens that each call of a module gets."""
    calls: list[int] = []
    hook = module.register_forward_hook(lambda _module, given, _output: calls.append(given[0].numel()))
    try:
        yield calls
    finally:
        hook.remove()


# ── what is read ──────────────────────────────────────────────────────────────────────────────


@given(items=st.lists(st.tuples(WORDS, WORDS), max_size=8), prompts=PROMPTS)
def test_the_fewest_sequences_are_read(items, prompts):
    measured, begun = [asked(*item) for item in items], [prompt(tokens) for tokens in prompts]
    needed = [item.tokens[: item.output_positions[-1] + 1] for item in measured] + prompts
    longest = {one for one in needed if not any(other[: len(one)] == one and other != one for other in needed)}
    readings = merge(measured, begun)
    assert sorted(reading.tokens for reading in readings) == sorted(longest)
    assert sorted(index for reading in readings for index in reading.items) == list(range(len(items)))
    assert sorted(start.prompt for reading in readings for start in reading.prompts) == list(range(len(prompts)))
    for reading in readings:
        assert all(needed[index] == reading.tokens[: len(needed[index])] for index in reading.items)
        assert all(prompts[start.prompt] == reading.tokens[: start.length] for start in reading.prompts)


@given(prompts=PROMPTS, tokens=st.integers(1, 60), at_once=st.integers(1, 5))
def test_each_prompt_is_answered_once_within_the_budgets(prompts, tokens, at_once):
    readings = merge([asked((10, 11), (12,))], [prompt(tokens) for tokens in prompts])
    found = list(decoding_batches(readings, NEW, tokens, at_once))
    starts = [[start for reading in wave for start in reading.prompts] for wave in found]
    assert sorted(start.prompt for wave in starts for start in wave) == list(range(len(prompts)))
    assert [index for wave in found for reading in wave for index in reading.items] == [0]
    for wave in starts:
        assert len(wave) <= at_once
        assert len(wave) <= 1 or len(wave) * (max(start.length for start in wave) + NEW) <= tokens


# ── the same answers ──────────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.tuples(WORDS, WORDS), max_size=6), prompts=PROMPTS, ahead=WORDS)
def test_losses_and_answers_are_those_of_each_alone(decoder, items, prompts, ahead):
    measured = [asked((*ahead, *before), answer) for before, answer in items]
    begun = [prompt((*ahead, *tokens)) for tokens in prompts]
    plain = replace(decoder, shared=None)
    losses, texts = decoder.answer(measured, begun)
    np.testing.assert_allclose(losses, [plain.losses([item])[0] for item in measured], rtol=1e-4)
    assert texts == [text for one in begun for text in plain.generate([one])]


@pytest.mark.parametrize("trunk", [20, 150])
def test_long_sequences_behind_a_common_beginning_need_no_mask(decoder, trunk):
    ahead = tuple(range(10, 10 + trunk))
    items = [asked((*ahead, *range(40, 40 + length)), (5, 6)) for length in (trunk + 20, trunk + 30, 3, 40)]
    begun = [prompt(item.tokens[: item.output_positions[0] + 1]) for item in items]
    wide = replace(decoder, max_tokens=1000, tokens_per_pass=500)
    losses, texts = wide.answer(items, begun)
    np.testing.assert_allclose(losses, [wide.losses([item])[0] for item in items], rtol=1e-4)
    assert texts == [text for one in begun for text in wide.generate([one])]


@pytest.mark.parametrize("form", [REWRITING, Rewriting(ask=lambda example: "one", answers=("good",))])
def test_a_source_that_is_encoded_once_gives_the_same(rewriter, form):
    items = form.encode(EXAMPLES, rewriter.tokenizer, 100)
    prompts = form.prompts(EXAMPLES, rewriter.tokenizer, 100)
    losses, texts = rewriter.answer(items, prompts)
    np.testing.assert_allclose(losses, rewriter.losses(items), rtol=1e-5)
    ids = [rewriter.model.generate(torch.tensor([one.tokens]), max_new_tokens=NEW, do_sample=False) for one in prompts]
    assert texts == [rewriter.tokenizer.decode(row[0], skip_special_tokens=True) for row in ids]


# ── once ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", [WRITING, TALKING], ids=["dialogue", "conversation"])
def test_each_prompt_of_a_row_is_read_once(decoder, form):
    """The true answer is read behind its prompt; what is written costs a token each."""
    items = form.encode(EXAMPLES[:1], decoder.tokenizer, decoder.max_tokens)
    form.predict(decoder, EXAMPLES[:1])  # proofs are made now
    with counted(decoder.model.get_input_embeddings()) as calls:
        form.predict(decoder, EXAMPLES[:1])
    answers = 1 if form is WRITING else 2
    assert calls[0] == len(items[0].tokens) - 1
    assert max(calls[1:]) <= answers and len(calls) <= NEW


def test_a_prompt_that_is_answered_several_times_is_read_once(decoder):
    begun = [prompt(tuple(range(10, 50)))] * 7
    engine = replace(decoder, temperature=1.5)
    engine.generate(begun)
    with counted(decoder.model.get_input_embeddings()) as calls:
        texts = engine.generate(begun)
    assert calls[0] == 40 and max(calls[1:]) <= 7
    assert len(set(texts)) > 1


def test_passes_stay_within_their_tokens(decoder):
    begun = [prompt(tuple(range(10, 10 + length))) for length in range(20, 40)]
    decoder.generate(begun)
    with counted(decoder.model.get_input_embeddings()) as calls:
        decoder.generate(begun)
    assert max(calls) <= decoder.tokens_per_pass


def test_a_source_is_encoded_once(rewriter):
    [source] = REWRITING.prompts(EXAMPLES[:1], rewriter.tokenizer, 100)
    REWRITING.predict(rewriter, EXAMPLES[:1])
    with counted(rewriter.model.get_encoder().block[0].layer[0].layer_norm) as calls:
        REWRITING.predict(rewriter, EXAMPLES[:1])
    assert calls == [len(source.tokens) * rewriter.facts.hidden]
