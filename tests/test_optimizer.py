"""The learning rate, the decay and the accumulated gradient are those of transformers and torch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, get_cosine_schedule_with_warmup
from transformers import get_linear_schedule_with_warmup as get_linear
from transformers.trainer_pt_utils import get_parameter_names

from kamerton.recipe import TrainSettings
from kamerton.train.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer

THEIRS = {"linear": get_linear, "cosine": get_cosine_schedule_with_warmup}


def rates_of(schedule: str, steps: int, warm: int, peak: float) -> list[float]:
    """Run transformers' own schedule: the rate at each of its steps, from 0."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = THEIRS[schedule](optimizer, num_warmup_steps=warm, num_training_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@given(st.sampled_from(sorted(THEIRS)), st.integers(1, 60), st.floats(0, 0.95))
def test_the_rate_is_that_of_transformers_but_for_its_lost_first_update(schedule, steps, warmup):
    """Transformers' warm-up begins with an update at rate 0; ours reaches each rate one update earlier."""
    settings = TrainSettings(learning_rate=3e-4, schedule=schedule, warmup=warmup)
    ours = [learning_rate(step, steps, settings) for step in range(steps)]
    warm = math.ceil(warmup * steps)
    theirs = rates_of(schedule, steps, warm, 3e-4)
    assert ours[warm:] == pytest.approx(theirs[warm:], rel=1e-9, abs=1e-15)
    assert ours[: max(0, warm - 1)] == pytest.approx(theirs[1:warm], rel=1e-9)


@given(st.sampled_from(["linear", "cosine", "constant"]), st.integers(1, 200), st.floats(0, 0.95))
def test_no_update_is_lost_and_none_is_above_the_peak(schedule, steps, warmup):
    settings = TrainSettings(learning_rate=0.5, schedule=schedule, warmup=warmup)
    rates = [learning_rate(step, steps, settings) for step in range(steps)]
    assert max(rates) == pytest.approx(0.5)
    assert min(rates) > 0


def test_a_constant_rate_stays_at_its_peak():
    settings = TrainSettings(learning_rate=1e-3, schedule="constant", warmup=0.1)
    rates = [learning_rate(step, 20, settings) for step in range(20)]
    assert rates == [pytest.approx(5e-4), *[1e-3] * 19]


@pytest.fixture
def model(encoder_folder):
    return AutoModelForSequenceClassification.from_pretrained(encoder_folder)


def test_only_matrices_decay(model):
    """As the transformers Trainer groups them, and of its tables those of embeddings do not decay either."""
    optimizer = make_optimizer(model, TrainSettings(learning_rate=1e-3, weight_decay=0.25))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    all_of_them = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(all_of_them) == sorted(names.values())
    trainers = get_parameter_names(model, [torch.nn.LayerNorm, torch.nn.Embedding], ["bias"])
    assert decaying == set(trainers)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.25, 0.0}


def test_frozen_weights_are_left_out(model):
    for parameter in model.bert.parameters():
        parameter.requires_grad_(False)
    optimizer = make_optimizer(model, TrainSettings(learning_rate=1e-3))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.classifier.parameters()))


def train_a_little(model, optimizer, seeds):
    for seed in seeds:
        ids = torch.randint(5, 100, (4, 12), generator=torch.Generator().manual_seed(seed))
        model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_optimizer_goes_on_as_if_never_stopped(model, encoder_folder):
    settings = TrainSettings(learning_rate=1e-2)
    torch.manual_seed(0)
    model.eval()
    optimizer = make_optimizer(model, settings)
    train_a_little(model, optimizer, range(3))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value.clone() for name, value in optimizer_tensors(model, optimizer).items()}
    train_a_little(model, optimizer, range(3, 6))

    other = AutoModelForSequenceClassification.from_pretrained(encoder_folder).eval()
    other.load_state_dict(weights)
    resumed = make_optimizer(other, settings)
    restore_optimizer(other, resumed, state)
    train_a_little(other, resumed, range(3, 6))
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    for name, value in optimizer_tensors(other, resumed).items():
        assert torch.equal(value, optimizer_tensors(model, optimizer)[name]), name
