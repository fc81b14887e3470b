"""Every configuration that the installed PEFT has: it trains as a run trains it, or is refused with the reason."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch

from kamerton.core.errors import KamertonError
from kamerton.core.records import Encoded
from kamerton.core.registry import choose
from kamerton.engine.engine import make_engine
from kamerton.engine.profile import profile_flops
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.saved import save_model
from kamerton.plugins.methods.peft import ALLOCATING, CONFIGS
from kamerton.runs.recipe import checked
from tiny_engines import facts_of

pytestmark = pytest.mark.filterwarnings("ignore")
"""Each configuration warns of something else."""

KINDS = {
    "encoder": "AutoModelForSequenceClassification",
    "decoder": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
}
ROWS = [(11, 12, 13, 14), (20, 21, 22), (30, 31, 32, 33, 34)]
WITHOUT_KNOBS = {
    "AdaLoraConfig": "changes ranks after every update",
    "PromptTuningConfig": "needs a number of prompt tokens",
    "PrefixTuningConfig": "needs a number of prompt tokens",
    "PromptEncoderConfig": "needs a number of prompt tokens",
}
"""What says why, of those that never work by themselves."""


@pytest.fixture(scope="module")
def bases(request: pytest.FixtureRequest) -> dict[str, Any]:
    config = {"encoder": {"num_labels": 3}}
    return {
        kind: load_model(request.getfixturevalue(f"{kind}_folder"), auto, config.get(kind, {}), seed=0)
        for kind, auto in KINDS.items()
    }


def encoded(kind: str) -> list[Encoded]:
    if kind == "seq2seq":
        return [Encoded(row, (0, 1), (25, 1)) for row in ROWS]
    at = 0 if kind == "encoder" else 2
    return [Encoded(row, (at,), (1,)) for row in ROWS]


def train(kind: str, folder: Any, base: Any, knobs: dict[str, object], out: Any) -> list[float]:
    """Do what a run does: attach, choose a layout, weigh, update, save."""
    method = checked(choose("methods", "peft"), knobs, "method peft:")
    torch.manual_seed(0)
    model = method.attach(copy.deepcopy(base.model), base.fresh)
    facts, rows = facts_of(folder), encoded(kind)
    tokenizer = load_tokenizer(facts)
    form: Any = Labels(("a", "b", "c")) if kind == "encoder" else Dialogue(ask=lambda example: example.text)
    layout = make_engine(
        model, tokenizer, facts, rows, max_tokens=64, max_new_tokens=1, tokens_per_pass=64, rows=rows
    ).layout
    assert profile_flops(model, layout, form, rows).trainable > 0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    losses = []
    for _ in range(4):
        loss = form.losses(layout.logits(model.train(), rows).float(), rows).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    save_model(out, model, tokenizer)
    return losses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", sorted(CONFIGS))
def test_a_configuration_by_itself_trains_or_is_refused_with_the_reason(config, kind, bases, request, tmp_path):
    folder = request.getfixturevalue(f"{kind}_folder")
    try:
        losses = train(kind, folder, bases[kind], {"config": config}, tmp_path / "model")
    except KamertonError as error:
        [fault] = error.faults
        assert config in str(fault.rule)
        assert fault.place
        assert fault.remedy
        assert WITHOUT_KNOBS.get(config, "") in str(fault.rule)
        return
    assert config not in WITHOUT_KNOBS
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] != losses[0]


def test_configurations_that_move_ranks_are_those_that_peft_wants_to_tell_of_updates():
    told = {
        name
        for name, config in CONFIGS.items()
        for type, known in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if known is config and "update_and_allocate" in vars(peft.PEFT_TYPE_TO_TUNER_MAPPING.get(type, object))
    }
    assert told == set(ALLOCATING)
