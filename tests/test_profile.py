"""What is counted on a few rows is what the model's arithmetic and autograd really take."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch

from kamerton.core import registry
from kamerton.core.records import Encoded
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.engine import classes_of
from kamerton.engine.profile import MemoryProfile, profile_flops, profile_memory
from kamerton.engine.verify import prove_layout
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.models.load import load_model
from tiny_engines import HEAD, TEXT

ROWS = [Encoded((7, 8, 9, 10, 11, 12, 13, 14), (5, 6), (13, 14)), Encoded((20, 21, 22, 23, 24, 25), (4,), (25,))]
LABELLED = [replace(row, output_positions=(0,), targets=(i,)) for i, row in enumerate(ROWS)]
EVERYWHERE = [replace(row, output_positions=tuple(range(len(row.tokens))), targets=row.tokens) for row in ROWS]
"""Read at every token, so that no layer is run at some of them only."""
WRITTEN = Dialogue(ask=lambda example: example.text)


def made(folder: Path, word: str, kind: str = TEXT, **knobs: object):
    loaded = load_model(folder, kind, {"num_labels": 2} if kind == HEAD else {}, seed=0)
    return registry.choose("methods", word)(**knobs).attach(loaded.model, loaded.fresh)


def profiled(folder: Path, word: str, kind: str = TEXT, written: list[Encoded] = ROWS, **knobs: object):
    model = made(folder, word, kind, **knobs)
    rows, form = (LABELLED, Labels(("a", "b"))) if kind == HEAD else (written, WRITTEN)
    return profile_flops(model, prove_layout(model, lambda way: way.logits(model, rows)), form, rows)


def matrices(folder: Path) -> int:
    model = load_model(folder, TEXT, {}, seed=0).model
    layers = model.model.layers
    return sum(p.numel() for p in layers.parameters() if p.dim() == 2)


def test_training_takes_six_operations_for_each_weight_and_token(decoder_folder):
    costs = profiled(decoder_folder, "full", written=EVERYWHERE)
    bare = 6 * matrices(decoder_folder)  # two forward and four backward: Kaplan et al. 2020, section 2.1
    head = costs.per_output / 2  # the gradient of its weights, counted with the tokens: here each one is read
    assert 0.9 * bare <= costs.per_token - head <= 1.15 * bare  # attention comes on top


def test_a_last_layer_that_is_run_at_the_reads_only_costs_less(decoder_folder):
    everywhere, at_some = profiled(decoder_folder, "full", written=EVERYWHERE), profiled(decoder_folder, "full")
    assert 0.5 * everywhere.per_token < at_some.per_token < 0.9 * everywhere.per_token


def test_the_head_is_paid_for_where_it_is_read(decoder_folder):
    model = load_model(decoder_folder, TEXT, {}, seed=0).model
    costs = profiled(decoder_folder, "full")
    assert costs.per_output == 2 * 2 * model.config.hidden_size * classes_of(model)


def test_frozen_weights_take_no_gradient_of_their_own(decoder_folder):
    full, low_rank = profiled(decoder_folder, "full"), profiled(decoder_folder, "lora", rank=1)
    assert low_rank.per_token < 0.8 * full.per_token
    assert low_rank.trainable < 0.1 * full.trainable


def test_as_much_is_counted_as_the_allocator_gave_out(decoder_folder):
    """Against torch's profiler, which is told by the allocator itself of every block given out and taken back."""
    model = made(decoder_folder, "full")
    layout = prove_layout(model, lambda way: way.logits(model, ROWS))
    model.train()
    memory = profile_memory(model, layout, WRITTEN, ROWS)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        WRITTEN.losses(layout.logits(model, ROWS).float(), ROWS).sum().backward()
    events = profiler.profiler.kineto_results.events()
    blocks = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    assert memory == pytest.approx(max(accumulate(size for _, size in blocks)), rel=0.05)


def test_recomputed_layers_take_less(encoder_folder):
    model = load_model(encoder_folder, HEAD, {"num_labels": 2, "num_hidden_layers": 6}, seed=0).model
    form, rows = Labels(("a", "b")), 40 * LABELLED
    layout = prove_layout(model, lambda way: way.logits(model, LABELLED))
    whole = profile_memory(model, layout, form, rows)
    recompute_layers(model, layout, LABELLED)
    assert profile_memory(model, layout, form, rows) < 0.5 * whole


def test_what_was_there_before_is_not_weighed_and_what_is_let_go_leaves():
    there = torch.zeros(1000)
    with MemoryProfile() as profile:
        first = there.view(10, 100) + 1
        there.add_(first.view(1000))
        assert profile.peak == 4000
        first = first * 2
        assert profile.peak == 8000
        del first
        assert (there + 1).sum() > 0
    assert profile.peak == 8000


def test_sparse_tensors_are_counted_by_their_entries():
    with MemoryProfile() as profile:
        torch.eye(100).to_sparse()
    assert 100 * (4 + 2 * 8) <= profile.peak - 4 * 100 * 100 <= 3 * 100 * (4 + 2 * 8)


def test_profiling_leaves_weights_and_chance_as_they_were(encoder_folder):
    model = made(encoder_folder, "full", HEAD)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    layout = prove_layout(model, lambda way: way.logits(model, LABELLED))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    profile_flops(model, layout, Labels(("a", "b")), LABELLED)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())
