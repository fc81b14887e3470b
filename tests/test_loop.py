"""Training learns, keeps its best, and ends with the same weights however often it is stopped."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from kamerton.core import registry
from kamerton.core.errors import ModelError, TrainingError
from kamerton.core.messages import msg
from kamerton.core.records import Encoded, Event, Halved, Overflowed, Saved, Started, Stepped, Stopped, Validated
from kamerton.engine.engine import make_engine
from kamerton.engine.layout import Layout
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.labels import Labels
from kamerton.kernels.device import choose_device
from kamerton.kernels.dropout import set_dropout, use_fast_dropout
from kamerton.models.load import load_model, load_tokenizer
from kamerton.pipeline.cost import estimate_cost
from kamerton.runs.recipe import TrainSettings
from kamerton.train import loop as loop_module
from kamerton.train import scaling
from kamerton.train.checkpoint import TrainState, folder_of, latest_checkpoint
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, train
from tiny_engines import HEAD, TEXT, facts_of
from tiny_models import SENTENCES

# of a name that PEFT asks for in every model
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

Kind = TypeVar("Kind")
IDENTITY = {"data": "d", "base model": "m", "recipe": "r"}
METHODS = {"full": "encoder", "head": "encoder", "last-layers": "encoder", "lora": "encoder", "lora on text": "decoder"}
"""What is trained, and on which tiny model."""


def rows_of(folder: Path, kind: str) -> list[Encoded]:
    """Encode the sentences: their script as a class, or all tokens after the first two as text."""
    rows = load_tokenizer(facts_of(folder))([text.lower() for text in SENTENCES])["input_ids"]
    if kind == "encoder":
        return [Encoded(tuple(ids), (0,), (int(SENTENCES[i][0] > "z"),)) for i, ids in enumerate(rows)]
    return [Encoded(tuple(ids), tuple(range(1, len(ids) - 1)), tuple(ids[2:])) for ids in rows]


@pytest.fixture
def make_job(tmp_path, encoder_folder, decoder_folder) -> Callable[..., Job]:
    """Make jobs as a run makes them: the model is loaded anew each time."""

    def make(
        word: str, folder: str = "a", *, validate: Callable[[], Validation] | None = None, **changed: object
    ) -> Job:
        kind = METHODS[word]
        base = encoder_folder if kind == "encoder" else decoder_folder
        rows = rows_of(base, kind)
        values = {"epochs": 2, "batch_size": 10, "learning_rate": 1e-3, "warmup": 0.2, **changed}
        settings = TrainSettings.model_validate(values)
        facts = facts_of(base)
        config = {"num_labels": 2} if kind == "encoder" else {}
        loaded = load_model(base, HEAD if kind == "encoder" else TEXT, config, seed=0)
        set_dropout(loaded.model, settings.dropout)
        knobs = {"dropout": settings.dropout} if word.startswith("lora") else {}
        method = registry.choose("methods", word.split()[0])(**knobs)
        model = method.attach(loaded.model, loaded.fresh)
        use_fast_dropout(model)
        training, validation = rows[:22], rows[22:]
        engine = make_engine(
            model,
            load_tokenizer(facts),
            facts,
            training[:3],
            max_tokens=facts.context,
            max_new_tokens=1,
            tokens_per_pass=settings.pass_tokens,
            rows=training,
        )

        def score() -> Validation:
            loss = float(engine.losses(validation).sum() / sum(len(row.output_positions) for row in validation))
            return Validation(loss, {}, -loss)

        return Job(
            model=model,
            layout=engine.layout,
            form=Labels(("a", "b")) if kind == "encoder" else Dialogue(ask=lambda example: example.text),
            rows=training,
            validate=validate or score,
            settings=settings,
            validations_per_epoch=1,
            seed=3,
            checkpoints=tmp_path / folder,
            identity=IDENTITY,
            dynamics=Dynamics.of(len(training)),
        )

    return make


@pytest.fixture
def saving_always(monkeypatch):
    """Make a checkpoint due after each update."""
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", -1.0)


def of_kind(events: Iterable[Event], kind: type[Kind]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def copies(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def checkpointed(job: Job) -> dict[str, Tensor]:
    """Read all of the latest checkpoint: weights, optimizer, random state and what was seen of each row."""
    latest = latest_checkpoint(job.checkpoints, IDENTITY)
    groups = ("weights", "optimizer", "random", "dynamics")
    return {f"{group} {k}": v for group in groups for k, v in latest.tensors(group).items()}


def grad_norm(model: nn.Module) -> float:
    return math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters() if p.grad is not None))


# ── learning ──────────────────────────────────────────────────────────────────────────────────


def test_all_weights_learn_what_can_be_learnt(make_job):
    events = list(train(make_job("full", epochs=60, learning_rate=1e-2, batch_size=11, patience=200)))
    losses = [event.loss for event in of_kind(events, Stepped)]
    assert losses[0] > 0.6
    assert max(losses[-2:]) < 0.05


@pytest.mark.parametrize("word", METHODS)
def test_every_method_lowers_the_loss(make_job, word):
    """Each update sees all rows, so that losses can be compared; on random layers most methods can do little."""
    events = list(train(make_job(word, epochs=30, learning_rate=1e-2, batch_size=22)))
    losses = [event.loss for event in of_kind(events, Stepped)]
    assert losses[-1] < 0.99 * losses[0]
    [stopped] = of_kind(events, Stopped)
    assert stopped.weight_change > 0.01


@pytest.mark.parametrize("tokens_per_pass", [1, 60, 100_000])
def test_an_update_in_passes_has_the_loss_and_gradient_of_the_whole_batch(make_job, decoder_folder, tokens_per_pass):
    """Against transformers' own mean loss over all labelled tokens of one padded batch."""
    job = make_job("lora on text", batch_size=22, epochs=1, tokens_per_pass=tokens_per_pass)
    for parameter in job.model.parameters():
        parameter.requires_grad_(True)  # the base's gradients too: those of fresh pairs are half zeros
    reference = make_job("lora on text", "b").model
    for parameter in reference.parameters():
        parameter.requires_grad_(True)
    longest = max(len(row.tokens) for row in job.rows)
    ids = torch.tensor([[*row.tokens, *[0] * (longest - len(row.tokens))] for row in job.rows])
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(job.rows):
        labels[i, 2 : len(row.tokens)] = torch.tensor(row.targets)
    loss = reference(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
    loss.backward()
    [stepped] = of_kind(train(job), Stepped)
    assert stepped.loss == pytest.approx(loss.item(), rel=1e-5)
    assert stepped.gradient_norm == pytest.approx(grad_norm(reference), rel=1e-4)
    assert stepped.tokens == sum(len(row.tokens) for row in job.rows)


@pytest.mark.parametrize("word", ["head", "last-layers", "lora", "lora on text"])
def test_frozen_weights_stay_as_they_were_bit_for_bit(make_job, word):
    job = make_job(word, epochs=3, learning_rate=1e-2)
    before = copies(job.model.named_parameters())
    list(train(job))
    frozen = {name for name, parameter in job.model.named_parameters() if not parameter.requires_grad}
    changed = set(differing(before, dict(job.model.named_parameters())))
    assert frozen
    assert not frozen & changed
    assert changed


def test_events_tell_the_whole_course(make_job):
    job = make_job("full")
    events = list(train(job))
    assert isinstance(events[0], Started)
    assert events[0].steps == 6
    assert events[0].trainable_parameters == events[0].parameters == job.model.num_parameters()
    assert [event.step for event in of_kind(events, Stepped)] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in of_kind(events, Validated)] == [3, 6]
    assert isinstance(events[-1], Stopped)


# ── the best is kept ──────────────────────────────────────────────────────────────────────────


def scripted(scores: list[float]) -> Callable[[], Validation]:
    """Validate by a script."""
    rest = iter(scores)
    return lambda: Validation(1.0, {}, next(rest))


def test_training_stops_when_patience_is_over_and_keeps_the_best(make_job):
    scores = [0.1, 0.5, 0.4, 0.5, 0.9]
    job = make_job("full", validate=scripted(scores), epochs=5, patience=2)
    kept: dict[int, dict[str, Tensor]] = {}
    events = []
    for event in train(job):
        events.append(event)
        if isinstance(event, Validated):
            kept[event.step] = copies(job.model.bert.encoder.named_parameters())  # its table is parted meanwhile
    stopped = of_kind(events, Stopped)[0]
    assert (stopped.step, stopped.best_step) == (12, 6)
    assert "2" in str(stopped.reason)
    assert [event.best for event in of_kind(events, Validated)] == [True, True, False, False]
    assert not differing(kept[6], dict(job.model.bert.encoder.named_parameters()))
    assert differing(kept[12], kept[6])


def test_a_tie_goes_to_the_lower_loss(make_job):
    results = iter([Validation(1.0, {}, 0.5), Validation(0.9, {}, 0.5), Validation(0.95, {}, 0.5)])
    events = list(train(make_job("head", validate=lambda: next(results), epochs=3)))
    assert [event.best for event in of_kind(events, Validated)] == [True, True, False]


def spoiling(job_of: Callable[..., Job], at: int) -> Job:
    """Make a job whose weights stop being numbers after a validation."""
    calls = 0
    box: list[Job] = []

    def validate() -> Validation:
        nonlocal calls
        calls += 1
        if calls == at:
            with torch.no_grad():
                box[0].model.classifier.weight[0, 0] = math.nan
        return Validation(1.0, {}, -1.0)

    box.append(job_of("full", validate=validate, epochs=4))
    return box[0]


def test_a_loss_that_is_not_finite_ends_training_with_the_best_weights(make_job):
    job = spoiling(make_job, at=2)
    events = list(train(job))
    stopped = of_kind(events, Stopped)[0]
    assert "not finite" in str(stopped.reason)
    assert (stopped.step, stopped.best_step) == (6, 3)
    assert all(parameter.isfinite().all() for parameter in job.model.parameters())
    assert math.isfinite(stopped.weight_change)


def test_a_loss_that_is_never_finite_is_told_with_a_remedy(make_job):
    job = make_job("full")
    with torch.no_grad():
        job.model.classifier.weight[0, 0] = math.inf
    with pytest.raises(TrainingError, match=r"not finite at update 1.*(?s:.*)--learning-rate"):
        list(train(job))


@pytest.mark.parametrize(
    "found", [Validation(math.nan, {}, 0.5), Validation(1.0, {}, math.nan), Validation(1.0, {}, -math.inf)]
)
def test_a_validation_that_is_not_finite_is_never_the_best(make_job, found):
    results = iter([found, Validation(1.0, {}, 0.5)])
    events = list(train(make_job("head", validate=lambda: next(results), epochs=2)))
    assert [event.best for event in of_kind(events, Validated)] == [False, True]
    with pytest.raises(TrainingError, match=r"no validation was finite(?s:.*)--learning-rate"):
        list(train(make_job("head", validate=lambda: found, epochs=2, folder="again")))


def test_a_model_without_trainable_weights_is_refused(make_job):
    job = make_job("full")
    for parameter in job.model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(TrainingError, match="no weight to train"):
        list(train(job))


@pytest.mark.parametrize("word", ["full", "lora on text"])
def test_what_is_seen_of_a_row_is_its_likelihood(make_job, word):
    job = make_job(word, learning_rate=1e-12)
    list(train(job))
    rows = job.dynamics.of_rows(range(len(job.rows)))
    assert [row.id for row in rows] == list(range(len(job.rows)))
    for row, item in zip(rows, job.rows, strict=True):
        probability = likelihood(job.model, item)
        assert row.visits == job.settings.epochs
        assert row.confidence == pytest.approx(probability, abs=1e-5)
        assert row.variability == pytest.approx(0, abs=1e-3)
        assert row.correctness == float(probability > 0.5)


@torch.no_grad()
def likelihood(model: nn.Module, item: Encoded) -> float:
    """Ask the bare model for the probability of a row's targets, as the geometric mean."""
    logits = model(input_ids=torch.tensor([item.tokens])).logits
    scores = logits[0, list(item.output_positions)] if logits.dim() == 3 else logits
    return math.exp(-torch.nn.functional.cross_entropy(scores.float(), torch.tensor(item.targets)).item())


# ── stopping and going on ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("word", METHODS)
def test_going_on_from_any_step_ends_with_the_same_bits(make_job, saving_always, tmp_path, word, dropout):
    undisturbed = make_job(word, dropout=dropout)
    snapshots = {}
    for event in train(undisturbed):
        if isinstance(event, Saved):
            snapshots[event.step] = shutil.copytree(undisturbed.checkpoints, tmp_path / f"after-{event.step}")
    assert list(snapshots) == [1, 2, 3, 4, 5, 6]
    wanted, weights = checkpointed(undisturbed), dict(undisturbed.model.named_parameters())
    for step, snapshot in snapshots.items():
        job = make_job(word, snapshot.name, dropout=dropout)
        events = list(train(job))
        assert [event.step for event in of_kind(events, Stepped)] == list(range(step + 1, 7))
        assert not differing(wanted, checkpointed(job)), step
        assert not differing(weights, dict(job.model.named_parameters())), step


@pytest.mark.parametrize("optimizer", registry.names("optimizers"))
def test_going_on_with_any_optimizer_ends_with_the_same_bits(make_job, saving_always, tmp_path, optimizer):
    undisturbed = make_job("lora", optimizer=optimizer, dropout=0.1)
    for event in train(undisturbed):
        if isinstance(event, Saved) and event.step == 4:
            shutil.copytree(undisturbed.checkpoints, tmp_path / "stopped")
    job = make_job("lora", "stopped", optimizer=optimizer, dropout=0.1)
    assert [event.step for event in of_kind(train(job), Stepped)] == [5, 6]
    assert not differing(checkpointed(undisturbed), checkpointed(job))


def test_dropout_is_felt(make_job):
    first, second = (
        [event.loss for event in of_kind(train(make_job("full", str(p), dropout=p)), Stepped)] for p in (0.0, 0.1)
    )
    assert first != second


def test_leaving_the_loop_is_stopping(make_job):
    for event in train(make_job("full", "b")):
        if isinstance(event, Validated):
            break
    resumed, undisturbed = make_job("full", "b"), make_job("full", "a")
    list(train(resumed))
    list(train(undisturbed))
    assert not differing(dict(resumed.model.named_parameters()), dict(undisturbed.model.named_parameters()))


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]])
def test_a_signal_waits_for_a_checkpoint_and_so_do_those_that_come_with_it(make_job, numbers):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    job = make_job("full", "b")
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for event in train(job):
            seen.append(event)
            if isinstance(event, Stepped) and event.step == 2:
                for number in numbers:
                    os.kill(os.getpid(), number)
    assert isinstance(seen[-1], Saved)
    assert folder_of(job.checkpoints, seen[-1].step).is_dir()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    resumed, undisturbed = make_job("full", "b"), make_job("full", "a")
    assert next(iter(train(resumed))).step == seen[-1].step
    list(train(resumed))
    list(train(undisturbed))
    assert not differing(dict(resumed.model.named_parameters()), dict(undisturbed.model.named_parameters()))


def test_a_second_ctrl_c_does_not_wait(make_job, request, monkeypatch):
    monkeypatch.setattr("kamerton.train.loop.QUICK", -1.0)
    # a shell starts background processes deaf to Ctrl-C, which would outlast the first
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for event in train(make_job("full")):
            seen.append(event)
            if isinstance(event, Stepped):
                signal.raise_signal(signal.SIGINT)  # to this thread, so that the two are not merged
                signal.raise_signal(signal.SIGINT)
    assert isinstance(seen[-1], Stepped)


def test_going_on_after_the_end_gives_the_kept_weights_at_once(make_job):
    first = make_job("full")
    list(train(first))
    again = make_job("full")
    events = list(train(again))
    assert len(of_kind(events, Stepped)) < 6
    assert not differing(dict(first.model.named_parameters()), dict(again.model.named_parameters()))


def test_training_that_was_asked_to_end_after_an_epoch_ends_there_after_any_stop(make_job, saving_always, tmp_path):
    def asked(folder: str) -> Job:
        return replace(make_job("lora", folder, epochs=4, dropout=0.1), asked_to_end=lambda epoch: epoch >= 2)

    undisturbed, snapshots = asked("a"), {}
    for event in train(undisturbed):
        if isinstance(event, Saved):
            snapshots[event.step] = shutil.copytree(undisturbed.checkpoints, tmp_path / f"after-{event.step}")
        end = event
    assert (end.step, end.asked, str(end.reason)) == (6, True, "ended after epoch 2, as was asked")
    as_recipe = replace(make_job("lora", "b", epochs=4, dropout=0.1), last_step=6)
    assert not list(train(as_recipe))[-1].asked
    wanted = dict(undisturbed.model.named_parameters())
    assert not differing(wanted, dict(as_recipe.model.named_parameters()))
    for step in (1, 4, 6):
        job = asked(snapshots[step].name)
        *events, again = train(job)
        assert [event.step for event in of_kind(events, Stepped)] == list(range(step + 1, 7))
        assert again == end
        assert not differing(wanted, dict(job.model.named_parameters()))


def test_going_on_after_patience_was_over_trains_no_more(make_job, saving_always):
    scores = [0.9, 0.1, 0.1, 0.1]
    list(train(make_job("full", validate=scripted(scores), epochs=4, patience=1)))
    events = list(train(make_job("full", validate=scripted([]), epochs=4, patience=1)))
    assert not of_kind(events, Stepped)
    assert (events[-1].step, events[-1].best_step) == (6, 3)


# ── devices ───────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_is_not_there_is_an_error_with_those_that_are():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ModelError, match=r"finds no device 'cuda:7' here\n.*choose one of: auto, cpu") as raised:
        choose_device("cuda:7")
    assert raised.value.faults[0].place == "model.device"


def test_settings_of_accelerate_change_nothing(make_job, monkeypatch):
    jobs = [make_job("full", "a")]
    list(train(jobs[0]))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch` sets it
    jobs.append(make_job("full", "b"))
    list(train(jobs[1]))
    assert not differing(*(copies(job.model.named_parameters()) for job in jobs))


class Small(Layout):
    """A layout in a memory of so many tokens, which the forward pass needs, or only the backward pass."""

    name = msg("small")

    def __init__(self, inner: Layout, room: int, *, backward: bool = False) -> None:
        self.inner, self.room, self.backward, self.passes = inner, room, backward, list[int]()

    def run(self, model, items):
        raise NotImplementedError

    def logits(self, model, items):
        tokens = sum(len(item.tokens) for item in items)
        logits = self.inner.logits(model, items)  # gradients of earlier passes are there when memory runs out
        self.passes.append(tokens)
        if tokens > self.room and not self.backward:
            self.run_out()
        if tokens > self.room and logits.requires_grad:
            logits.register_hook(self.run_out)
        return logits

    def run_out(self, _gradient=None):
        raise torch.OutOfMemoryError("out of memory: tried to allocate 2.00 GiB")


@pytest.mark.parametrize("backward", [False, True])
def test_an_update_that_runs_out_of_memory_is_made_again_in_passes_of_half_the_size(make_job, backward):
    whole, small = make_job("full", "a", batch_size=22), make_job("full", "b", batch_size=22)
    list(train(whole))
    tokens = sum(len(row.tokens) for row in small.rows)
    layout = Small(small.layout, tokens - 1, backward=backward)
    events = list(train(replace(small, layout=layout)))
    assert of_kind(events, Halved) == [Halved(0, tokens // 2)]
    assert layout.passes.count(tokens) == 1
    assert max(size for size in layout.passes if size != tokens) <= tokens // 2
    for name, weight in whole.model.named_parameters():
        torch.testing.assert_close(small.model.get_parameter(name), weight, rtol=0, atol=1e-4)
    assert torch.equal(small.dynamics.sums[:, 0], torch.full((22,), 2.0, dtype=torch.float64))


def test_memory_that_runs_out_again_is_an_error_with_remedies(make_job):
    job = make_job("full", batch_size=22)
    with pytest.raises(TrainingError, match=r"does not suffice for update 1\n.*gradient_checkpointing.*lora.*qlora"):
        list(train(replace(job, layout=Small(job.layout, 100))))


def test_memory_that_runs_out_in_the_optimizer_is_an_error_with_remedies(make_job, monkeypatch):
    def step(_self, _closure=None):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(TrainingError, match=r"does not suffice for update 1\n.*gradient_checkpointing"):
        list(train(make_job("full", optimizer="adamw")))


def test_memory_that_runs_out_in_the_estimate_is_an_error_with_remedies(make_job):
    job = make_job("full")
    trainable = SimpleNamespace(model=job.model, engine=SimpleNamespace(layout=Small(job.layout, 1)), rows=job.rows)
    recipe = SimpleNamespace(train=job.settings, seed=1)
    setup = SimpleNamespace(
        recipe=recipe,
        form=job.form,
        split=SimpleNamespace(validation=()),
        encode=lambda _rows: job.rows,
    )
    with pytest.raises(TrainingError, match=r"does not suffice to try usual passes\n.*tokens_per_pass"):
        estimate_cost(setup, trainable)


class Overflowing(Layout):
    """A layout whose first passes have infinite gradients, as those of products in fp16 that overflow."""

    name = msg("overflowing")

    def __init__(self, inner: Layout, times: int) -> None:
        self.inner, self.left = inner, times

    def run(self, model, items):
        raise NotImplementedError

    def logits(self, model, items):
        logits = self.inner.logits(model, items)
        if logits.requires_grad and self.left:
            self.left -= 1
            logits.register_hook(lambda gradient: gradient * float("inf"))
        return logits


def test_scaled_losses_give_the_same_weights(make_job):
    plain, scaled = make_job("lora", "a"), make_job("lora", "b")
    list(train(plain))
    list(train(replace(scaled, scaled=True)))
    for name, weight in plain.model.named_parameters():
        torch.testing.assert_close(scaled.model.get_parameter(name), weight, rtol=1e-4, atol=1e-6)


def test_an_update_whose_gradients_overflow_is_skipped_and_told(make_job, saving_always):
    job = make_job("lora", batch_size=22, epochs=4, optimizer="adamw")
    before = copies(job.model.named_parameters())
    layout, events = Overflowing(job.layout, 2), []
    for event in train(replace(job, layout=layout, scaled=True)):
        events.append(event)
        if isinstance(event, Saved) and event.step == 2:
            break
    assert of_kind(events, Overflowed) == [Overflowed(1, 2.0**15), Overflowed(2, 2.0**14)]
    assert not of_kind(events, Stepped)
    assert not differing(before, copies(job.model.named_parameters()))
    assert latest_checkpoint(job.checkpoints, IDENTITY).state.scale == 2.0**14
    rest = list(train(replace(job, scaled=True)))
    assert [event.step for event in of_kind(rest, Stepped)] == [3, 4]
    assert latest_checkpoint(job.checkpoints, IDENTITY).state.calm == 2


def test_a_scale_grows_after_many_updates_and_shrinks_no_further_than_one():
    state = TrainState(scale=2.0, calm=scaling.CALM - 1)
    scaling.grow(state)
    assert (state.scale, state.calm) == (4.0, 0)
    assert [scaling.shrink(state) for _ in range(3)] == [True, True, False]


def test_a_loss_that_is_not_finite_ends_training_however_it_is_scaled(make_job):
    job = make_job("lora")
    with torch.no_grad():
        next(weight for weight in job.model.parameters() if weight.requires_grad).fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is not finite at update 1"):
        list(train(replace(job, scaled=True)))
