"""Reading the mean of all tokens: what plain transformers computes with the saved model is LN(first + 10 * mean)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel

from kamerton.core.errors import ModelError
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.frozen import FrozenLayers, run_frozen_once
from kamerton.engine.verify import prove_layout
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.saved import save_model
from kamerton.models.structure import layer_stack
from kamerton.pipeline.dial import Dial
from kamerton.plugins.methods._mean import read_mean
from kamerton.plugins.methods.head import Head
from kamerton.session.engines import saved_engine
from kamerton.session.setup import open_setup
from test_layout import FAMILIES, HEAD, PAD, TAGS, TEXT, Family
from tiny_engines import facts_of

WEIGHT = 10
BY_NAME = {family.name: family for family in FAMILIES}
FITTING = ("bert", "roberta", "distilbert", "electra", "deberta")
UNFIT = (("modernbert", HEAD), ("albert", HEAD), ("bert", TAGS), ("llama", HEAD), ("gpt2", TEXT))
ROWS = ((5, 9, 33, 70, 12, 90, 41), (8, 61, 4), (7, 20, 21, 22, 60), (77,))

PROGRAM = """
import json, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

rows, pad, out = *json.loads(sys.argv[1]), {}
longest = max(map(len, rows))
ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
for name in sys.argv[3:]:
    model = AutoModelForSequenceClassification.from_pretrained(f"{sys.argv[2]}/{name}").eval()
    with torch.no_grad():
        out[name] = model(input_ids=ids, attention_mask=mask).logits.contiguous()
assert "kamerton" not in sys.modules
save_file(out, f"{sys.argv[2]}/logits.safetensors")
"""
"""What a stranger runs: one padded batch through each saved model."""


def grown(name: str) -> PreTrainedModel:
    model = BY_NAME[name].build(HEAD)
    assert read_mean(model) is None
    return model


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Save a model of each family that reads the mean, and give the logits of the rows in another process."""
    root = tmp_path_factory.mktemp("grown")
    for name in FITTING:
        grown(name).save_pretrained(root / name)
    command = [sys.executable, "-c", PROGRAM, json.dumps([ROWS, PAD]), str(root), *FITTING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(root / "logits.safetensors")


def logits_at_the_mean(model: PreTrainedModel, row: tuple[int, ...]) -> Tensor:
    """Put the mean in the place of the first token of an untouched model by hand, for one row without padding."""

    def mix(_module: object, _args: object, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        mean = sum(states[:, place] for place in range(len(row))) / len(row)
        read = layer_norm(states[:, 0] + WEIGHT * mean, states.shape[-1:])
        mixed = torch.cat([read.unsqueeze(1), states[:, 1:]], dim=1)
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    hook = layer_stack(model)[-1].register_forward_hook(mix)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row])).logits
    hook.remove()
    return logits


@pytest.mark.parametrize("name", FITTING)
def test_plain_transformers_reads_the_mean_of_padded_rows_from_the_saved_model(name, elsewhere):
    untouched = BY_NAME[name].build(HEAD)
    wanted = torch.cat([logits_at_the_mean(untouched, row) for row in ROWS])
    torch.testing.assert_close(elsewhere[name], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FITTING)
def test_all_below_stays_as_it_was(name):
    before, after = BY_NAME[name].build(HEAD).state_dict(), grown(name).state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert {key.split(".layer.")[-1].partition(".")[0] for key in after.keys() - before.keys()} == {"2"}


@pytest.mark.parametrize(("name", "head"), UNFIT)
def test_a_model_that_cannot_read_the_mean_stays_as_it_was(name, head):
    model, untouched = (BY_NAME[name].build(head) for _ in range(2))
    assert read_mean(model) is not None
    assert model.config.to_dict() == untouched.config.to_dict()
    now, before = model.state_dict(), untouched.state_dict()
    assert now.keys() == before.keys() and all(torch.equal(now[key], before[key]) for key in before)
    ids = torch.tensor(ROWS[:1])
    assert torch.equal(model(input_ids=ids).logits, untouched(input_ids=ids).logits)


def test_layers_of_different_kinds_get_back_their_list():
    values = {**BY_NAME["modernbert"].values, "layer_types": ["full_attention", "sliding_attention"]}
    model = Family("modernbert", "ModernBertConfig", values, (HEAD,), BY_NAME["modernbert"].layout).build(HEAD)
    assert read_mean(model) is not None
    assert model.config.layer_types == ["full_attention", "sliding_attention"]


# ── the method ────────────────────────────────────────────────────────────────────────────────


def test_the_mean_is_read_if_nothing_is_said_or_if_it_is_asked_for_and_not_else():
    depth = {reads: BY_NAME["bert"].build(HEAD) for reads in (None, "mean", "first")}
    for reads, model in depth.items():
        Head(reads=reads).attach(model, ["classifier"])
    assert {reads: model.config.num_hidden_layers for reads, model in depth.items()} == {None: 3, "mean": 3, "first": 2}


@pytest.mark.parametrize(("name", "head"), UNFIT)
def test_what_is_asked_for_and_cannot_be_is_refused_with_the_reason(name, head):
    with pytest.raises(ModelError, match=r"the head cannot read the mean of the tokens: .*\n.*method\.reads"):
        Head(reads="mean").attach(BY_NAME[name].build(head), [])


def test_a_model_that_reads_the_mean_already_gets_no_second_layer(tmp_path):
    model = grown("roberta")
    assert read_mean(model) is None
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, "AutoModelForSequenceClassification", {}, seed=0).model
    assert read_mean(again) is None
    assert model.config.num_hidden_layers == again.config.num_hidden_layers == len(layer_stack(again)) == 3


@pytest.mark.parametrize("name", FITTING)
def test_the_added_layer_is_frozen_and_drops_nothing(name):
    model = BY_NAME[name].build(HEAD)
    set_dropout(model, 0.5)
    Head().attach(model, ["classifier"])
    added = layer_stack(model)[-1]
    assert not any(parameter.requires_grad for parameter in added.parameters())
    assert model.train() and added.training
    probabilities = [module.p for module in added.modules() if isinstance(module, torch.nn.Dropout)]
    assert set(probabilities) == {0.0}


@pytest.mark.parametrize("name", FITTING)
def test_its_rows_are_laid_out_as_those_of_other_models_and_its_layers_may_be_computed_again(name):
    family = BY_NAME[name]
    model, rows = family.build(HEAD), family.rows(HEAD)
    set_dropout(model, 0.0)
    Head().attach(model, ["classifier"])
    layout = prove_layout(model, lambda way: way.logits(model, rows[:3]))
    assert isinstance(layout, family.layout)
    alone = torch.cat([model(input_ids=torch.tensor([row.tokens])).logits for row in rows])
    torch.testing.assert_close(layout.logits(model, rows), alone, rtol=1e-4, atol=1e-5)
    recompute_layers(model, layout, rows)


@pytest.mark.parametrize("name", FITTING)
def test_the_mean_is_computed_once_for_each_row(name):
    model, rows = BY_NAME[name].build(HEAD), BY_NAME[name].rows(HEAD)
    Head().attach(model, ["classifier"])
    kept = run_frozen_once(prove_layout(model, lambda way: way.logits(model, rows[:3])), model, rows)
    assert isinstance(kept, FrozenLayers) and (len(kept.layers), kept.above) == (3, 0)
    alone = torch.cat([model(input_ids=torch.tensor([row.tokens])).logits for row in rows])
    torch.testing.assert_close(kept.logits(model, rows), alone, rtol=1e-4, atol=1e-5)


# ── a run ─────────────────────────────────────────────────────────────────────────────────────


def test_a_head_has_forgotten_nothing_because_all_that_the_base_has_is_unchanged(place):
    run = place.run("head")
    assert json.loads((Path(run.model) / "config.json").read_text("utf-8"))["num_hidden_layers"] == 3
    forgetting = run.read_forgetting()
    assert forgetting.decision == "none"
    assert forgetting.measured and all(one.change == 0 for one in forgetting.measured)


def test_the_dial_finds_what_a_head_began_with(place, monkeypatch, tmp_path):
    run = place.run("head")
    monkeypatch.chdir(place.folder)
    setup = open_setup(run)
    engine = saved_engine(run, setup)
    Dial(setup, engine.model).turn(0)
    base = load_file(place.folder / "encoder" / "model.safetensors")
    now = dict(engine.model.named_parameters())
    assert all(torch.equal(now[f"bert.{name}"], weight) for name, weight in base.items())
    save_model(tmp_path / "model", engine.model, load_tokenizer(facts_of(place.folder / "encoder")))
    assert len(layer_stack(load_model(tmp_path / "model", setup.form.model_class, {}, seed=0).model)) == 3
