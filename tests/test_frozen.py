"""Frozen layers are run once over each row, and nothing else changes: not a logit, not a gradient, not a bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from kamerton.core.records import Encoded
from kamerton.engine.frozen import ActivationCache, FrozenLayers, run_frozen_once
from kamerton.engine.layout import Padded, Plain
from kamerton.engine.verify import prove_layout
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import load_model
from kamerton.models.structure import layer_stack, outer_model, train_above
from test_layout import FAMILIES, PROVEN_ON

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
"""PEFT asks transformers by an old name."""

ROWS = [Encoded(tuple(range(5, 5 + length)), (length - 2, length - 1), (1, 2)) for length in (9, 4, 6, 4)]
OTHERS = [Encoded(tuple(range(50, 50 + length)), (0, 1), (2, 0)) for length in (3, 8)]
CLASSES = {"encoder": "AutoModelForTokenClassification", "decoder": "AutoModelForCausalLM"}


@pytest.fixture(params=CLASSES)
def load(request):
    """Load a fresh tiny model: an encoder that reads tokens, or a decoder."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    config = {"num_labels": 3} if request.param == "encoder" else {}
    return lambda: load_model(folder, CLASSES[request.param], config, seed=0)


def trained_above(load, layers):
    loaded = load()
    train_above(loaded.model, layers, loaded.fresh, ())
    return loaded.model


def proven(model, rows=ROWS):
    return prove_layout(model, lambda way: way.logits(model, rows))


def count_calls(layer, calls):
    return next(layer.children()).register_forward_hook(lambda *_: calls.append(1))


def gradients(model, layout, rows):
    model.zero_grad()
    targets = torch.tensor([target for row in rows for target in row.targets])
    cross_entropy(layout.logits(model, rows), targets).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("layers", [0, 1])
def test_the_logits_and_gradients_are_those_of_the_layout_below_also_for_rows_not_seen_before(load, layers):
    model = trained_above(load, layers)
    inner = proven(model)
    frozen = run_frozen_once(inner, model, ROWS)
    assert isinstance(frozen, FrozenLayers)
    for rows in (ROWS, OTHERS, [OTHERS[1], ROWS[0]]):
        torch.testing.assert_close(frozen.logits(model, rows), inner.logits(model, rows), rtol=1e-5, atol=1e-6)
        wanted, got = gradients(model, inner, rows), gradients(model, frozen, rows)
        assert (got - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("inner", [Padded(), Plain()], ids=["padded", "plain"])
@pytest.mark.parametrize("layers", [0, 1])
def test_rows_may_be_padded(load, layers, inner):
    model = trained_above(load, layers)
    frozen = run_frozen_once(inner, model, ROWS)
    assert isinstance(frozen, FrozenLayers)
    torch.testing.assert_close(frozen.logits(model, OTHERS), inner.logits(model, OTHERS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_frozen_layer_runs_once_for_each_row(load, layers):
    model = trained_above(load, layers)
    frozen = run_frozen_once(proven(model), model, ROWS, [ROWS[:2], ROWS[2:], OTHERS])
    below, on_top = [], []
    stack = layer_stack(model)
    hooks = [count_calls(stack[0], below), count_calls(stack[-1], on_top)]
    for rows in (ROWS, OTHERS, ROWS):
        frozen.logits(model, rows)
    for hook in hooks:
        hook.remove()
    assert (len(below), len(on_top)) == (0, 3 * layers)


def test_what_is_kept_has_no_dropout_while_the_layers_above_have_theirs(load):
    model = trained_above(load, 1)
    set_dropout(model, 0.0)
    set_dropout(layer_stack(model), 0.5)
    frozen = run_frozen_once(Padded(), model, ROWS)
    model.train()
    torch.manual_seed(0)
    first, second = frozen.logits(model, ROWS), frozen.logits(model, ROWS)
    assert not torch.allclose(first, second)
    # the same pass, with the frozen part put to evaluation by hand
    model.base_model.eval()
    layer_stack(model)[-1].train()
    torch.manual_seed(0)
    torch.testing.assert_close(Padded().logits(model, ROWS), first, rtol=1e-5, atol=1e-6)


def test_training_moves_the_layers_above_as_without_the_kept_states(load):
    results = []
    for keep in (False, True):
        model = trained_above(load, 1)
        layout = proven(model)
        layout = run_frozen_once(layout, model, ROWS) if keep else layout
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(5):
            gradients(model, layout, ROWS)
            optimizer.step()
        results.append(layout.logits(model, OTHERS))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_only_what_fits_is_kept_and_the_rest_is_computed_again(load):
    model = trained_above(load, 1)
    inner, stack = proven(model), layer_stack(model)
    budget = 10 * model.config.hidden_size * 4
    small = FrozenLayers(inner, tuple(stack[:1]), 1, ActivationCache(budget))
    for rows in (ROWS, OTHERS, ROWS):
        torch.testing.assert_close(small.logits(model, rows), inner.logits(model, rows), rtol=1e-5, atol=1e-6)
    assert 0 < small.cache.bytes <= budget
    assert [key[0] for key in small.cache.states] == [ROWS[0].tokens]


def test_rows_of_the_same_tokens_read_elsewhere_do_not_share_features(load):
    model = trained_above(load, 0)
    inner = proven(model)
    frozen = run_frozen_once(inner, model, ROWS)
    frozen.logits(model, ROWS)
    moved = [replace(row, output_positions=(0, 1)) for row in ROWS]
    torch.testing.assert_close(frozen.logits(model, moved), inner.logits(model, moved), rtol=1e-5, atol=1e-6)


def test_the_same_passes_give_the_same_bits_whatever_was_asked_before(load):
    states = []
    for order in ([ROWS, OTHERS], [OTHERS, ROWS[:1]]):
        model = trained_above(load, 1)
        frozen = run_frozen_once(proven(model), model, ROWS[:1], [[*ROWS, *OTHERS]])
        for rows in order:
            frozen.logits(model, rows)
        states.append(frozen.cache.states)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


MORE = [replace(row, tokens=tuple(token + 1 for token in row.tokens)) for row in (*ROWS, *OTHERS)]
PASSES = [[MORE[0], ROWS[1]], [MORE[1], MORE[0]], [*MORE[2:], ROWS[0]]]


def kept_in(folder, load, layers, passes=PASSES, change=None):
    """Keep the frozen work of a fresh model in a folder; give the layout and how often its lowest layer ran for it."""
    model, calls = trained_above(load, layers), []
    if change:
        change(model)
    layout = proven(model)
    count_calls(layer_stack(outer_model(model))[0], calls)
    run_frozen_once(layout, model, ROWS)
    proof = len(calls)
    return run_frozen_once(layout, model, ROWS, passes, folder), len(calls) - 2 * proof


@pytest.mark.parametrize("layers", [0, 1])
def test_what_is_kept_in_a_folder_is_found_there_bit_for_bit_and_not_computed_again(load, layers, tmp_path):
    first, ran = kept_in(tmp_path, load, layers)
    again, ran_again = kept_in(tmp_path, load, layers)
    assert (ran, ran_again) == (len(PASSES), 0)
    alone, _ = kept_in(None, load, layers)
    keys = {alone.key(row) for rows in PASSES for row in rows}
    assert set(first.cache.states) == set(again.cache.states) == keys
    for key in keys:
        assert torch.equal(first.cache.states[key], alone.cache.states[key])
        assert torch.equal(again.cache.states[key], alone.cache.states[key])
    assert first.cache.bytes == again.cache.bytes == sum(states.nbytes for states in again.cache.states.values())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda text: text[:-4], lambda text: text[:-1] + bytes([text[-1] ^ 1])])
def test_a_damaged_file_is_not_believed(load, damage, tmp_path):
    whole, _ = kept_in(tmp_path, load, 1)
    before = {key: states.clone() for key, states in whole.cache.states.items()}
    [file] = tmp_path.glob("*.states")
    text = damage(file.read_bytes())
    del whole  # it reads from the file
    file.unlink()
    file.write_bytes(text)
    again, ran = kept_in(tmp_path, load, 1)
    assert ran == len(PASSES)
    assert all(torch.equal(states, again.cache.states[key]) for key, states in before.items())


def test_other_weights_other_rows_and_other_passes_are_kept_apart(load, tmp_path):
    def change(model):
        with torch.no_grad():
            next(layer_stack(outer_model(model))[0].parameters()).view(-1)[0] += 1e-3

    variants = [{}, {"change": change}, {"passes": [MORE]}, {"passes": [[*PASSES[0], *PASSES[1]], PASSES[2]]}]
    assert all(kept_in(tmp_path, load, 1, **variant)[1] for variant in variants)
    assert len(list(tmp_path.glob("*.states"))) == len(variants)


def test_a_file_says_where_the_budget_ended(tmp_path):
    keys = [((number,), (), ()) for number in range(4)]
    kept = ActivationCache(budget=3 * 2 * 8 * 4)
    for key in keys:
        kept.add(key, torch.randn(2, 8))
    kept.store(tmp_path / "some.states", keys)
    found = ActivationCache()
    assert found.restore(tmp_path / "some.states", keys)
    assert (list(found.states), found.full, found.bytes) == (keys[:3], True, kept.bytes)


def test_a_disk_without_room_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("kamerton.engine.frozen.SPARE", 10**15)
    kept = ActivationCache()
    kept.add(((1,), (), ()), torch.randn(2, 8))
    kept.store(tmp_path / "some.states", list(kept.states))
    assert not list(tmp_path.iterdir()) and len(kept.states) == 1


def test_adapters_in_the_last_layers_leave_the_lower_ones_frozen(decoder_folder):
    model = load_model(decoder_folder, "AutoModelForCausalLM", {}, seed=0).model
    config = LoraConfig(target_modules=["q_proj", "down_proj"], layers_to_transform=[1], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    inner = proven(adapted)
    frozen = run_frozen_once(inner, adapted, ROWS)
    assert isinstance(frozen, FrozenLayers)
    assert (len(frozen.layers), frozen.above) == (1, 1)
    torch.testing.assert_close(frozen.logits(adapted, OTHERS), inner.logits(adapted, OTHERS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trains", ["everything", "nothing", "the embeddings"])
def test_without_a_frozen_bottom_or_without_training_nothing_is_kept(load, trains):
    model = load().model
    model.requires_grad_(trains == "everything")
    if trains == "the embeddings":
        model.get_input_embeddings().requires_grad_(True)
    layout = proven(model)
    assert run_frozen_once(layout, model, ROWS) is layout


def test_a_models_layers_are_as_they_were_after_a_pass(load):
    model = trained_above(load, 1)
    layer = layer_stack(outer_model(model))[0]
    before = dict(vars(layer))
    run_frozen_once(proven(model), model, ROWS).logits(model, ROWS)
    assert vars(layer) == before


@pytest.mark.parametrize(
    ("family", "head"), [(family, family.heads[-1]) for family in FAMILIES], ids=[family.name for family in FAMILIES]
)
@pytest.mark.parametrize("layers", [0, 1])
def test_in_every_family_the_last_layers_train_nothing_below_does_and_what_is_kept_changes_no_logit(
    family, head, layers
):
    model = family.build(head)
    rows = family.rows(head)
    stack = layer_stack(model)
    train_above(model, layers, (), ())
    inner = proven(model, rows[:PROVEN_ON])
    way = run_frozen_once(inner, model, rows[:PROVEN_ON])
    torch.testing.assert_close(way.logits(model, rows), inner.logits(model, rows), rtol=1e-4, atol=1e-5)
    way.logits(model, rows).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    below = [*model.get_input_embeddings().parameters(), *stack[: len(stack) - layers].parameters()]
    assert not any(parameter.requires_grad for parameter in below)
    if family.name == "deberta":
        assert isinstance(way, FrozenLayers) and (len(way.layers), way.above) == (len(stack) - layers, layers)
    if layers:
        assert all(parameter.requires_grad for parameter in stack[-1].parameters())
