"""What begins alike is computed once, and gives what every row gives alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from kamerton.core.records import Encoded
from kamerton.engine import prefill
from kamerton.engine.decode import can_decode
from kamerton.engine.engine import TorchEngine
from kamerton.engine.layout import Packed
from kamerton.engine.prefix_tree import KeyValues, branched
from kamerton.engine.shared_prefix import alike_to_first_output, common_prefix, worth_sharing
from tiny_engines import HEAD, TEXT, tiny_engine

WORDS = st.lists(st.integers(10, 500), min_size=1, max_size=9).map(tuple)


@pytest.fixture(scope="module")
def decoder(decoder_folder: Path) -> TorchEngine:
    return tiny_engine(decoder_folder, TEXT, [asked((7, 8, 9), (11, 3)), asked((20,), (30, 31, 3))])


def asked(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Encoded:
    """An answer after a prompt, each token read at the one before it."""
    first = len(prompt) - 1
    return Encoded((*prompt, *answer), tuple(range(first, first + len(answer))), answer)


def choices(prefix: tuple[int, ...], prompts: list[tuple[int, ...]], answers: list[tuple[int, ...]]) -> list[Encoded]:
    return [asked((*prefix, *prompt), answer) for prompt in prompts for answer in answers]


@settings(max_examples=40, deadline=None)
@given(
    prefix=st.lists(st.integers(10, 500), max_size=12).map(tuple),
    prompts=st.lists(WORDS, min_size=1, max_size=4),
    answers=st.lists(WORDS, min_size=1, max_size=4),
)
def test_losses_are_those_of_each_row_alone(decoder, prefix, prompts, answers):
    items = choices(prefix, prompts, answers)
    alone = np.array([replace(decoder, shared=None).losses([item])[0] for item in items])
    [(_, logits)] = decoder.shared.passes(decoder.model, items, 10000, 10000)
    assert torch.isfinite(logits).all()
    np.testing.assert_allclose(decoder.losses(items), alone, rtol=1e-4)


def test_losses_are_those_that_transformers_gives(decoder, decoder_folder):
    items = choices((5, 6, 7, 8, 9, 10), [(40, 41), (50,)], [(60, 61), (60, 62), (63,)])
    model = AutoModelForCausalLM.from_pretrained(decoder_folder).eval()
    wanted = []
    for item in items:
        labels = [-100] * (item.output_positions[0] + 1) + list(item.targets)
        with torch.no_grad():
            mean = model(torch.tensor([item.tokens]), labels=torch.tensor([labels])).loss.item()
        wanted.append(mean * len(item.targets))
    assert worth_sharing(items)
    np.testing.assert_allclose(decoder.losses(items), wanted, rtol=1e-4)


def test_rows_come_back_in_their_order_through_many_passes(decoder):
    items = choices((5, 6, 7, 8), [(40 + i,) * (1 + i % 5) for i in range(20)], [(60, 61), (62,), (63, 64, 65)])
    small = replace(decoder, tokens_per_pass=30)
    np.testing.assert_allclose(small.losses(items), replace(decoder, shared=None).losses(items), rtol=1e-4)
    for got, wanted in zip(small.read(items), replace(decoder, shared=None).read(items), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_common_beginning_ends_where_something_is_read():
    assert common_prefix([asked((1, 2, 3), (9,)), asked((1, 2, 3), (8,))]) == (1, 2)
    assert common_prefix([asked((1, 2, 3), (9,)), asked((1, 5, 3), (8,))]) == (1,)
    assert common_prefix([asked((1, 2, 3), (9,))]) == ()


def test_each_token_that_matters_is_in_one_part_once():
    items = choices((1, 2), [(3, 4), (5,)], [(6, 7), (6, 8)])
    tree = branched(items, alike_to_first_output(items), KeyValues(2))
    assert tree.encoded().tokens == (3, 4, 6, 6, 5, 6, 6)
    assert tree.positions() == [2, 3, 4, 4, 2, 3, 3]
    assert tree.row.parents == (-1, 0, 0, -1, 3, 3)
    assert tree.places() == [[0, 1, 2], [0, 1, 3], [4, 5], [4, 6]]


def test_different_rows_are_not_worth_it():
    assert not worth_sharing([asked((1, 2, 3), (9,)), asked((4, 5, 6), (8,))])


def test_an_encoder_is_never_read_with_shared_prefixes(encoder_folder):
    rows = [Encoded((2, 7, 8, 3), (0,), (0,)), Encoded((2, 7, 9, 9, 3), (0,), (1,))]
    engine = tiny_engine(encoder_folder, HEAD, rows, classes=2)
    assert isinstance(engine.layout, Packed)
    assert engine.shared is None


def test_a_table_of_keys_gives_what_a_whole_row_gives(decoder):
    assert can_decode(decoder.model, decoder.shared, decoder.samples)


def test_decoding_is_proven_on_tokens_that_rows_have(decoder):
    read = set[int]()
    embedding = decoder.model.get_input_embeddings()
    hook = embedding.register_forward_pre_hook(lambda _, inputs: read.update(inputs[0].flatten().tolist()))
    try:
        assert can_decode(decoder.model, decoder.shared, decoder.samples)
    finally:
        hook.remove()
    assert read and read <= {token for item in decoder.samples for token in item.tokens}


def test_drawn_answers_are_the_same_for_a_seed_and_greedy_ones_when_cold(decoder):
    prompts = [Encoded((7, 8, 9 + i), (), ()) for i in range(6)]
    warm, again = replace(decoder, temperature=1.5, seed=1), replace(decoder, temperature=1.5, seed=1)
    assert warm.generate(prompts) == again.generate(prompts)
    assert warm.generate(prompts) != replace(warm, seed=2).generate(prompts)
    assert replace(decoder, temperature=1e-6).generate(prompts) == decoder.generate(prompts)


def test_the_models_own_generation_writes_the_same(decoder):
    prompts = [Encoded((7, 8, 9 + i, *range(40, 40 + i)), (), ()) for i in range(6)]
    assert decoder.generate(prompts) == replace(decoder, shared=None).generate(prompts)


def test_long_and_short_prefixs_give_the_same_answers(decoder, monkeypatch):
    prompts = [Encoded((*range(50, 70), 9 + i, *range(40, 40 + i)), (), ()) for i in range(5)]
    copied = decoder.generate(prompts)
    monkeypatch.setattr(prefill, "COPIED", 0)
    assert decoder.generate(prompts) == copied
