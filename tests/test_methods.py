"""What every method must keep to, on every kind of model: each file in `methods/` is tested without being listed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, EncoderDecoderModel

from kamerton.core import registry
from kamerton.core.contracts import Method, ModelFacts
from kamerton.core.errors import ModelError, RecipeError
from kamerton.core.records import Encoded, Saved, Stepped
from kamerton.core.weights import Quantization
from kamerton.engine.engine import make_engine
from kamerton.engine.layout import Unpadded
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.kernels.dropout import set_dropout
from kamerton.models.inspect import inspect_folder
from kamerton.models.load import Loaded, load_model
from kamerton.models.quantize import FILE, quantized, write_quantization
from kamerton.runs.recipe import TrainSettings, checked
from kamerton.train import loop as loop_module
from kamerton.train.checkpoint import latest_checkpoint
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, train

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
"""PEFT asks transformers by an old name."""

WORDS = registry.names("methods")
STEPS = 6
LENGTH = 7
CLASSES = 3
TOKENS = torch.randint(10, 300, (4, LENGTH), generator=torch.Generator().manual_seed(0))
"""Rows of one length: what padding does to a model is tested apart."""


@dataclass(frozen=True)
class Target:
    """A kind of model with a head."""

    kind: str
    auto: str

    @property
    def config(self) -> dict[str, object]:
        return {} if self.writes else {"num_labels": CLASSES}

    @property
    def writes(self) -> bool:
        return "LM" in self.auto

    @property
    def encoder_decoder(self) -> bool:
        return "Seq2Seq" in self.auto

    @property
    def output_positions(self) -> tuple[int, ...]:
        if "Sequence" in self.auto:
            return (LENGTH - 1 if self.kind == "decoder" else 0,)
        return (LENGTH - 2, LENGTH - 1)


TARGETS = (
    Target("encoder", "AutoModelForSequenceClassification"),
    Target("encoder", "AutoModelForTokenClassification"),
    Target("decoder", "AutoModelForCausalLM"),
    Target("decoder", "AutoModelForSequenceClassification"),
    Target("seq2seq", "AutoModelForSeq2SeqLM"),
    Target("pair", "AutoModelForSeq2SeqLM"),
)


def variants(word: str) -> Iterator[dict[str, object]]:
    """Give the knobs of a method that are choices, each set to each of its values; first none at all."""
    yield {}
    for name, field in registry.choose("methods", word).model_fields.items():
        values: Sequence[object] = ()
        if get_origin(field.annotation) is Literal:
            values = get_args(field.annotation)
        elif field.annotation is bool:
            values = (False, True)
        yield from ({name: value} for value in values if value != field.default)


def quantization_of(word: str, knobs: Mapping[str, object]) -> Quantization | None:
    """Say how a method wants its base model."""
    return checked(registry.choose("methods", word), knobs, "test").quantization


CELLS = [(word, {}, target) for word, target in product(WORDS, TARGETS)]
CELLS += [(word, knobs, TARGETS[2]) for word in WORDS for knobs in variants(word) if knobs]


def outputs(model: nn.Module, target: Target) -> Tensor:
    """Run the model as its own library does."""
    model.eval()
    inputs = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}
    if target.encoder_decoder:
        inputs["decoder_input_ids"] = TOKENS[:, :4]
    with torch.no_grad():
        return model(**inputs).logits


def loss_of(model: nn.Module, target: Target) -> Tensor:
    if target.encoder_decoder:
        logits = model(
            input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS), decoder_input_ids=TOKENS[:, :4]
        ).logits[:, -2:]
    else:
        logits = Unpadded().logits(model, rows_of(TOKENS.tolist(), target))
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), torch.arange(logits.shape[:-1].numel()) % CLASSES)


def rows_of(tokens: Sequence[Sequence[int]], target: Target) -> list[Encoded]:
    return [Encoded(tuple(row), target.output_positions, (0,) * len(target.output_positions)) for row in tokens]


def trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def frozen(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@dataclass(frozen=True)
class Trained:
    """A cell after a few steps, with what was seen on the way."""

    model: nn.Module
    start: Mapping[str, Tensor]
    frozen_before: Mapping[str, Tensor]
    without_gradient: tuple[str, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """A method on a kind of model."""

    word: str
    knobs: Mapping[str, object]
    target: Target
    base: Path
    loaded: Loaded

    @property
    def method(self) -> Method:
        return checked(registry.choose("methods", self.word), self.knobs, "test")

    @property
    def facts(self) -> ModelFacts:
        return inspect_folder(self.base, "tiny")

    def attach(self) -> nn.Module:
        torch.manual_seed(0)
        return self.method.attach(copy.deepcopy(self.loaded.model), self.loaded.fresh)

    def train(self) -> Trained:
        model = self.attach()
        start, frozen_before = trainable(model), frozen(model)
        rate = self.method.advise(self.facts, 1000)["learning_rate"].value
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
        losses = []
        for _ in range(STEPS):
            model.train()
            loss = loss_of(model, self.target)
            optimizer.zero_grad()
            loss.backward()
            missing = tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None)
            optimizer.step()
            losses.append(loss.item())
        return Trained(model, start, frozen_before, missing, tuple(losses))

    @cached_property
    def trained(self) -> Trained:
        return self.train()


@pytest.fixture(scope="session")
def pair_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny BERTs, one of which writes."""
    folder = tmp_path_factory.mktemp("tiny") / "pair"
    torch.manual_seed(0)  # of the attention between the two, which neither brings
    model = EncoderDecoderModel.from_encoder_decoder_pretrained(encoder_folder, encoder_folder)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder, eos_token="[SEP]")
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(request: pytest.FixtureRequest) -> dict[tuple[Target, Quantization | None], Loaded]:
    """Load each kind of model once in each way that a method wants it."""
    loaded = {}
    for target, how in {(target, quantization_of(word, knobs)) for word, knobs, target in CELLS}:
        folder = request.getfixturevalue(f"{target.kind}_folder")
        config = quantized(folder, target.auto, target.config, how) if how else None
        loaded[target, how] = load_model(folder, target.auto, target.config, seed=0, quantization=config)
        set_dropout(loaded[target, how].model, 0.0)
    return loaded


@pytest.fixture(scope="module")
def cells(request: pytest.FixtureRequest, bases: dict[tuple[Target, Quantization | None], Loaded]) -> dict[int, Cell]:
    """Prepare every cell of the table; each is trained once, when it is first asked for."""
    return {
        index: Cell(
            word,
            knobs,
            target,
            request.getfixturevalue(f"{target.kind}_folder"),
            bases[target, quantization_of(word, knobs)],
        )
        for index, (word, knobs, target) in enumerate(CELLS)
    }


def told(index: int) -> str:
    word, knobs, target = CELLS[index]
    return "-".join(
        [word, *(f"{k}={v}" for k, v in knobs.items()), target.kind, target.auto.removeprefix("AutoModelFor")]
    )


@pytest.fixture(params=range(len(CELLS)), ids=told)
def cell(request: pytest.FixtureRequest, cells: dict[int, Cell]) -> Cell:
    """Each method on each kind of model, and each choice among its knobs."""
    return cells[request.param]


PROGRAM = """
import importlib, json, sys, warnings
import torch
import transformers
from peft import PeftModel, PeftType
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig

jobs, out = json.loads(open(sys.argv[1]).read()), {}
tokens = torch.tensor(jobs["tokens"])
known = {None, *PeftType.__members__}
for job in sorted(jobs["cells"], key=lambda job: job["type"] not in known):
    auto = getattr(transformers, job["auto"])
    if job["type"] not in known:
        importlib.import_module(job["module"])  # a type that PEFT does not have
    else:
        assert "kamerton" not in sys.modules
    if job["type"] is None:
        model = auto.from_pretrained(job["folder"])
    else:
        if job["quantization"]:
            job["config"]["quantization_config"] = BitsAndBytesConfig.from_dict(job["quantization"])
        base = auto.from_pretrained(job["base"], **job["config"])
        for module in base.modules():
            if "support_avx512bf16_for_cpu" in vars(module):
                module.support_avx512bf16_for_cpu = False  # else evaluated in bf16 on such a CPU
        model = PeftModel.from_pretrained(base, job["folder"])
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if job["decoder_ids"]:
        inputs["decoder_input_ids"] = tokens[:, :4]
    with torch.no_grad():
        out[job["name"]] = model.eval()(**inputs).logits.contiguous()
save_file(out, sys.argv[2])
"""
"""What a stranger runs: transformers and PEFT only."""


@pytest.fixture(scope="module")
def elsewhere(cells: dict[int, Cell], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Save every cell, load all of them in one new process, and give the logits that they have there."""
    root = tmp_path_factory.mktemp("saved")
    jobs = []
    for index, cell in cells.items():
        folder = root / str(index)
        cell.trained.model.save_pretrained(folder)
        write_quantization(folder, cell.trained.model)
        adapter = folder / "adapter_config.json"
        jobs.append(
            {
                "name": told(index),
                "folder": str(folder),
                "auto": cell.target.auto,
                "base": str(cell.base),
                "config": cell.target.config,
                "type": json.loads(adapter.read_text())["peft_type"] if adapter.exists() else None,
                "quantization": json.loads((folder / FILE).read_text()) if (folder / FILE).exists() else None,
                "module": type(cell.method).__module__,
                "decoder_ids": cell.target.encoder_decoder,
            }
        )
    (root / "jobs.json").write_text(json.dumps({"tokens": TOKENS.tolist(), "cells": jobs}))
    command = [sys.executable, "-c", PROGRAM, str(root / "jobs.json"), str(root / "logits.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(root / "logits.safetensors")


# ── what trains ───────────────────────────────────────────────────────────────────────────────


def test_what_is_frozen_is_the_same_bit_for_bit_after_training_and_what_trains_has_moved(cell):
    now = cell.trained.model
    assert same(cell.trained.frozen_before, frozen(now))
    assert cell.trained.start.keys() == trainable(now).keys()
    assert not same(cell.trained.start, trainable(now))
    # an encoder that is only attended to runs no pooler
    assert all(".pooler." in name for name in cell.trained.without_gradient)
    assert cell.target.kind == "pair" or cell.trained.without_gradient == ()


def test_modules_without_pretrained_weights_train(cell):
    names = trainable(cell.attach())
    for module in cell.loaded.fresh:
        assert [name for name in names if module in name], module


def test_the_loss_falls_at_the_advised_rate(cell):
    assert cell.trained.losses[-1] < cell.trained.losses[0]


def test_the_same_seed_gives_the_same_start_and_the_same_trained_weights(cell):
    again = cell.train()
    assert same(again.start, cell.trained.start)
    assert same(trainable(again.model), trainable(cell.trained.model))


# ── stopped and resumed ───────────────────────────────────────────────────────────────────────

STOPPED = [
    i for i, (_, knobs, target) in enumerate(CELLS) if not knobs and target in (TARGETS[0], TARGETS[2], TARGETS[4])
]
"""Every method on an encoder, a decoder and a sequence-to-sequence model."""


def job_of(cell: Cell, folder: Path) -> Job:
    """Make a training of eight rows in batches of three as a run makes it: the model begins anew each time."""
    model, rows = cell.attach(), 2 * uneven(cell.target)
    form: Any = Dialogue(ask=lambda example: example.text) if cell.target.writes else Labels(("a", "b", "c"))
    engine = make_engine(
        model,
        AutoTokenizer.from_pretrained(cell.base),
        cell.facts,
        rows[:3],
        max_tokens=64,
        max_new_tokens=1,
        tokens_per_pass=20,
        rows=rows,
    )
    rate = cell.method.advise(cell.facts, 1000)["learning_rate"].value
    return Job(
        model=model,
        layout=engine.layout,
        form=form,
        rows=rows,
        validate=lambda: Validation(-1.0, {}, 1.0),
        settings=TrainSettings(epochs=2, batch_size=3, learning_rate=rate, tokens_per_pass=20),
        validations_per_epoch=1,
        seed=3,
        checkpoints=folder,
        identity={"data": "d"},
        dynamics=Dynamics.of(len(rows)),
    )


@pytest.mark.parametrize("index", STOPPED, ids=told)
def test_a_stopped_and_resumed_training_ends_as_an_undisturbed_one_bit_for_bit(index, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", -1.0)
    straight = job_of(cells[index], tmp_path / "straight")
    events = list(train(straight))
    assert [event.step for event in events if isinstance(event, Stepped)] == [1, 2, 3, 4, 5, 6]
    for step in (2, 4):
        for event in train(job_of(cells[index], tmp_path / "stopped")):
            if isinstance(event, Saved) and event.step == step:
                break
    resumed = job_of(cells[index], tmp_path / "stopped")
    assert next(event for event in train(resumed) if isinstance(event, Stepped)).step == 5
    resumed = job_of(cells[index], tmp_path / "stopped")
    list(train(resumed))
    assert same(dict(resumed.model.named_parameters()), dict(straight.model.named_parameters()))
    [first, second] = [latest_checkpoint(job.checkpoints, job.identity) for job in (straight, resumed)]
    assert same(first.tensors("optimizer"), second.tensors("optimizer"))


# ── saved, loaded, merged ─────────────────────────────────────────────────────────────────────


def test_a_process_without_kamerton_loads_what_was_saved_with_equal_logits(cell, elsewhere, request):
    there = elsewhere[request.node.callspec.id]
    torch.testing.assert_close(there, outputs(cell.trained.model, cell.target), rtol=1e-5, atol=1e-5)


def test_merging_keeps_the_logits_or_is_refused_with_the_reason(cell):
    model = copy.deepcopy(cell.trained.model)
    wanted = outputs(model, cell.target)
    try:
        plain = cell.method.merge(model)
    except ValueError as error:
        assert str(error).startswith("cannot merge, because ")
        return
    assert not isinstance(plain, PeftModel)
    assert (outputs(plain, cell.target) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


# ── rows of different lengths, layouts, generation ────────────────────────────────────────────

UNEVEN = [TOKENS[0, :LENGTH].tolist(), TOKENS[1, :4].tolist(), TOKENS[2, :6].tolist(), TOKENS[3, :4].tolist()]


def engine_of(cell: Cell, max_new_tokens: int = 5) -> Any:
    return make_engine(
        cell.trained.model.eval(),
        AutoTokenizer.from_pretrained(cell.base),
        cell.facts,
        uneven(cell.target)[:3],
        max_tokens=64,
        max_new_tokens=max_new_tokens,
        tokens_per_pass=512,
    )


def uneven(target: Target) -> list[Encoded]:
    if target.encoder_decoder:  # answers of different lengths, too, each read from the decoder's start token on
        answers = ((20, 21, 1), (22, 1), (23, 24, 25, 1), (26, 1))
        return [Encoded(tuple(row), tuple(range(len(a))), a) for row, a in zip(UNEVEN, answers, strict=True)]
    last = target.kind == "decoder" or "Token" in target.auto
    return [Encoded(tuple(row), (len(row) - 1 if last else 0,), (0,)) for row in UNEVEN]


ONE_STACK = [index for index, (_, _, target) in enumerate(CELLS) if not target.encoder_decoder]
WRITERS = [index for index, (_, _, target) in enumerate(CELLS) if target.auto == "AutoModelForCausalLM"]


@pytest.mark.parametrize("index", ONE_STACK, ids=told)
def test_rows_of_different_lengths_are_read_together_as_one_by_one(index, cells):
    cell = cells[index]
    model = cell.trained.model
    for row, logits in zip(uneven(cell.target), engine_of(cell).read(uneven(cell.target)), strict=True):
        ids = torch.tensor([row.tokens])
        with torch.no_grad():
            alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        wanted = alone if alone.dim() == 2 else alone[:, row.output_positions[0] - len(row.tokens)]
        torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-5)


def sharpened(model: nn.Module) -> nn.Module:
    """Make attention look at few positions, as trained models do, so that it matters how far apart they are."""
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and ("q_proj" in name or "k_proj" in name) and "lora" not in name:
                parameter.mul_(30)
            elif "v_proj" in name or "o_proj" in name:
                parameter.mul_(8)
    return model


@pytest.mark.parametrize("index", WRITERS, ids=told)
def test_answers_are_written_side_by_side_as_one_by_one_and_by_the_tuned_model(index, cells):
    model = sharpened(cells[index].trained.model)
    engine = replace(engine_of(cells[index]), model=model)
    prompts = uneven(cells[index].target)
    together = engine.generate(prompts)
    assert together == [text for prompt in prompts for text in engine.generate([prompt])]
    for prompt, text in zip(prompts, together, strict=True):
        ids = torch.tensor([prompt.tokens])
        for _ in range(5):  # greedy, by hand
            with torch.no_grad():
                best = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, best], dim=1)
            if best.item() == engine.tokenizer.eos_token_id:
                break
        new = ids[0, len(prompt.tokens) :]
        assert text == engine.tokenizer.decode(new, skip_special_tokens=True)


ENCODER_DECODER = [index for index, (_, _, target) in enumerate(CELLS) if target.encoder_decoder]


@pytest.mark.parametrize("index", ENCODER_DECODER, ids=told)
def test_rows_and_answers_of_different_lengths_are_read_together_as_one_by_one(index, cells):
    cell = cells[index]
    start = cell.trained.model.config.decoder_start_token_id
    for row, logits in zip(uneven(cell.target), engine_of(cell).read(uneven(cell.target)), strict=True):
        ids, shifted = torch.tensor([row.tokens]), torch.tensor([[start, *row.targets[:-1]]])
        with torch.no_grad():
            alone = cell.trained.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=shifted
            ).logits[0, -len(row.output_positions) :]
        torch.testing.assert_close(torch.from_numpy(logits), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", ENCODER_DECODER, ids=told)
def test_encoder_decoder_models_write_side_by_side_as_one_by_one_and_by_the_tuned_model(index, cells):
    cell = cells[index]
    engine, model = engine_of(cell), cell.trained.model
    prompts = [replace(row, output_positions=(), targets=()) for row in uneven(cell.target)]
    together = engine.generate(prompts)
    assert together == [text for prompt in prompts for text in engine.generate([prompt])]
    for prompt, text in zip(prompts, together, strict=True):
        ids, written = torch.tensor([prompt.tokens]), [model.config.decoder_start_token_id]
        for _ in range(5):  # greedy, by hand
            with torch.no_grad():
                shifted = torch.tensor([written])
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=shifted).logits
            written.append(int(logits[0, -1].argmax()))
            if written[-1] == engine.tokenizer.eos_token_id:
                break
        assert text == engine.tokenizer.decode(written[1:], skip_special_tokens=True)


@pytest.mark.parametrize("index", ONE_STACK, ids=told)
def test_the_longest_row_that_is_let_through_fits_the_context(index, cells):
    cell = cells[index]
    room = cell.facts.context - cell.method.added_tokens
    [logits] = engine_of(cell).read([Encoded((20,) * room, (room - 1,), (0,))])
    assert torch.from_numpy(logits).isfinite().all()


# ── knobs and advice ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", WORDS)
def test_a_knob_that_does_not_exist_is_named(word):
    with pytest.raises(RecipeError, match="no_such_knob"):
        checked(registry.choose("methods", word), {"no_such_knob": 1}, f"method {word}:")


@pytest.mark.parametrize(
    ("word", "knob"), [(word, knob) for word in WORDS for knob in registry.choose("methods", word).model_fields]
)
def test_a_knob_of_a_wrong_kind_is_named_and_every_knob_is_explained(word, knob):
    method = registry.choose("methods", word)
    with pytest.raises(RecipeError, match=knob):
        checked(method, {knob: {"not": "this"}}, f"method {word}:")
    assert method.model_fields[knob].description


def facts_of(kind: str, parameters: int) -> ModelFacts:
    return ModelFacts("m", "m", kind, "family", parameters, 12, 384, 30_000, 512, "0")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("kind", ["encoder", "decoder", "seq2seq"])
@pytest.mark.parametrize("parameters", [20_000_000, 400_000_000, 8_000_000_000])
def test_advice_is_within_the_settings_bounds_and_says_why(word, kind, parameters):
    facts = facts_of(kind, parameters)
    for rows in (3, 200, 5_000, 2_000_000):
        suits = registry.choose("methods", word).suitability(facts, rows)
        assert 0 <= suits.value <= 1
        assert suits.reason
        advice = registry.choose("methods", word)().advise(facts, rows)
        assert {"learning_rate", "epochs", "batch_size"} <= advice.keys()
        assert all(item.reason for item in advice.values())
        TrainSettings.model_validate({name: item.value for name, item in advice.items()})


# ── cells that cannot exist ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "knobs", "says"),
    [
        ("lora", {"targets": ["nowhere"]}, "nowhere"),
        ("last-layers", {"layers": 9}, "the model has 2"),
        ("peft", {"config": "IA3Config", "target_modules": ["nowhere"]}, "nowhere"),
        ("peft", {"config": "C3AConfig", "block_size": 7}, "block size"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_with_the_reason(word, knobs, says, bases):
    loaded = bases[TARGETS[2], None]
    method = checked(registry.choose("methods", word), knobs, "test")
    with pytest.raises(ModelError, match=says):
        method.attach(copy.deepcopy(loaded.model), loaded.fresh)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"config": "NoConfig"}, "no configuration 'NoConfig'"),
        ({"config": "LoHaConfig", "alhpa": 4}, "no setting 'alhpa'\n.*did you mean 'alpha'"),
    ],
)
def test_an_unknown_peft_configuration_or_setting_is_named(knobs, says):
    with pytest.raises(RecipeError, match=says):
        checked(registry.choose("methods", "peft"), knobs, "method peft:")
