"""The learning rate, the decay and the accumulated gradient are those of transformers and torch."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, get_cosine_schedule_with_warmup
from transformers import get_linear_schedule_with_warmup as get_linear
from transformers.trainer_pt_utils import get_parameter_names

from kamerton.core import registry
from kamerton.core.errors import RecipeError
from kamerton.runs.recipe import TrainSettings
from kamerton.train.optimizer import (
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    preferred_optimizer,
    restore_optimizer,
)

WORDS = registry.names("optimizers")
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


@pytest.mark.parametrize("word", WORDS)
def test_only_matrices_decay(model, word):
    """As the transformers Trainer groups them, and of its tables those of embeddings do not decay either."""
    optimizer = make_optimizer(model, TrainSettings(optimizer=word, learning_rate=1e-3, weight_decay=0.25))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    all_of_them = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    assert sorted(all_of_them) == sorted(names.values())
    trainers = get_parameter_names(model, [torch.nn.LayerNorm, torch.nn.Embedding], ["bias"])
    assert decaying == set(trainers)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.25, 0.0}


@pytest.mark.parametrize("word", WORDS)
def test_frozen_weights_are_left_out(model, word):
    for parameter in model.bert.parameters():
        parameter.requires_grad_(False)
    optimizer = make_optimizer(model, TrainSettings(optimizer=word, learning_rate=1e-3))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.classifier.parameters()))


def train_a_little(model, optimizer, seeds):
    for seed in seeds:
        ids = torch.randint(5, 100, (4, 12), generator=torch.Generator().manual_seed(seed))
        model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("word", WORDS)
def test_the_optimizer_goes_on_as_if_never_stopped(model, encoder_folder, tmp_path, word):
    settings = TrainSettings(optimizer=word, learning_rate=1e-2)
    torch.manual_seed(0)
    model.eval()
    optimizer = make_optimizer(model, settings)
    train_a_little(model, optimizer, range(3))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(optimizer_tensors(model, optimizer), tmp_path / "state.safetensors")
    train_a_little(model, optimizer, range(3, 6))

    other = AutoModelForSequenceClassification.from_pretrained(encoder_folder).eval()
    other.load_state_dict(weights)
    resumed = make_optimizer(other, settings)
    restore_optimizer(other, resumed, load_file(tmp_path / "state.safetensors"), lambda value, _: value)
    train_a_little(other, resumed, range(3, 6))
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    for name, value in optimizer_tensors(other, resumed).items():
        assert torch.equal(value, optimizer_tensors(model, optimizer)[name]), name


@pytest.mark.parametrize("word", WORDS)
def test_every_optimizer_learns_at_the_rates_of_adamw_with_updates_of_like_size(model, word):
    """The methods' default rates are AdamW's: an update must not be many times as large, or as small."""
    ids = torch.randint(5, 100, (4, 12), generator=torch.Generator().manual_seed(0))
    weight = model.bert.encoder.layer[0].output.dense.weight
    optimizer = make_optimizer(model.eval(), TrainSettings(optimizer=word, learning_rate=1e-3, weight_decay=0.0))
    losses, moves = [], []
    for _ in range(6):
        loss = model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss
        optimizer.zero_grad()
        loss.backward()
        before = weight.detach().clone()
        optimizer.step()
        losses.append(loss.item())
        moves.append((weight - before).pow(2).mean().sqrt().item())
    assert losses[-1] < losses[0]
    assert all(2e-5 < move < 3e-3 for move in moves)


def test_matrices_go_to_torchs_muon_and_all_else_to_its_adamw(model):
    """Bit for bit, over updates of the whole model."""
    twin = AutoModelForSequenceClassification.from_pretrained(model.name_or_path)
    twin.load_state_dict(model.state_dict())
    settings = TrainSettings(optimizer="muon", learning_rate=1e-2, weight_decay=0.1)
    train_a_little(model.eval(), make_optimizer(model, settings), range(3))

    tables = [m.weight for m in twin.modules() if isinstance(m, torch.nn.Embedding)]
    matrices = [p for p in twin.parameters() if p.dim() == 2 and not any(p is table for table in tables)]
    rest = [p for p in twin.parameters() if not any(p is matrix for matrix in matrices)]
    muon = torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.0, fused=True)
    twin.eval()
    for seed in range(3):
        ids = torch.randint(5, 100, (4, 12), generator=torch.Generator().manual_seed(seed))
        twin(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        for optimizer in (muon, adamw):
            optimizer.step()
        twin.zero_grad()
    for name, value in twin.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_eight_bits_take_a_quarter_of_the_memory():
    model = torch.nn.Linear(256, 256, bias=False)
    bytes_of = {}
    for word in ("adamw", "adamw-8bit"):
        optimizer = make_optimizer(model, TrainSettings(optimizer=word, learning_rate=1e-3))
        model(torch.ones(1, 256)).sum().backward()
        optimizer.step()
        state = optimizer_tensors(model, optimizer)
        bytes_of[word] = sum(value.nbytes for key, value in state.items() if "qmap" not in key)
    assert bytes_of["adamw-8bit"] < 0.27 * bytes_of["adamw"]


def test_where_none_is_named_adamw_is_taken_and_an_unknown_one_is_named(model):
    assert preferred_optimizer() == "adamw"
    assert isinstance(make_optimizer(model, TrainSettings(learning_rate=1e-3)), torch.optim.AdamW)
    with pytest.raises(RecipeError, match=r"no optimizer 'adamv'\n.*did you mean 'adamw'"):
        make_optimizer(model, TrainSettings(optimizer="adamv", learning_rate=1e-3))


def test_a_missing_library_is_named_with_the_command_that_installs_it():
    """In a process that cannot find it; the optimizers' folder itself is listed and imported all the same."""
    program = (
        "import sys; sys.modules['bitsandbytes'] = None\n"
        "import torch\nfrom kamerton.core import registry\nfrom kamerton.core.contracts import Trainable\n"
        "from kamerton.core.errors import RecipeError\n"
        "optimizers = [registry.choose('optimizers', word)() for word in registry.names('optimizers')]\n"
        "weights = Trainable([torch.nn.Parameter(torch.ones(2, 2))], [], 0.0)\n"
        "for optimizer in optimizers:\n"
        "    try:\n        optimizer.make(weights, 1e-3)\n"
        "    except RecipeError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "this needs bitsandbytes, which is not installed\n    → pip install 'kamerton[bitsandbytes]'\n"
    )
