"""The training loop: a generator of events. Whoever runs it draws, records, or stops by leaving the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kamerton.core.contracts import Objective
from kamerton.core.errors import Fault, RunError, TrainingError
from kamerton.core.records import Encoded, Event, Saved, Started, Stepped, Stopped, Validated
from kamerton.engine.engine import LOGITS_PER_PASS, classes_of
from kamerton.engine.layout import Layout
from kamerton.engine.passes import passes_of
from kamerton.models.load import count_parameters
from kamerton.runs.recipe import TrainSettings
from kamerton.train.batches import UpdatePlan
from kamerton.train.checkpoint import Checkpoint, Standing, best_checkpoint, latest_checkpoint, save_checkpoint
from kamerton.train.dynamics import Dynamics
from kamerton.train.interrupts import deferred_interrupts
from kamerton.train.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from kamerton.train.used_rows import only_used_rows

SAVE_SECONDS = 60.0
"""A checkpoint is due after this long, best or not."""
SAMPLED = 4096
"""Entries of each weight that are watched for change."""


@dataclass(frozen=True)
class Validation:
    """What a validation gives back to the loop."""

    loss: float
    metrics: Mapping[str, float]
    score: float
    """What selects the checkpoint: higher is better; ties are broken by the lower loss."""


@dataclass(frozen=True)
class Job:
    """All that training needs."""

    model: nn.Module
    layout: Layout
    form: Objective
    rows: Sequence[Encoded]
    validate: Callable[[], Validation]
    settings: TrainSettings
    validations_per_epoch: int
    seed: int
    checkpoints: Path
    identity: Mapping[str, str]
    """Fingerprints of data, model and recipe; a checkpoint of others is refused."""
    dynamics: Dynamics
    """What training sees of each row; it is filled in, and goes through stops with the checkpoints."""
    last_step: int | None = None
    """The update to end after, whatever is planned; None for all of them."""


def train(job: Job) -> Iterator[Event]:
    """Train `job.model` in place and leave it with the weights of its best validation.

    Continues from the latest checkpoint if there is one, to the same final weights as an undisturbed
    run, bit for bit on a CPU. Leaving the loop early (`break`) loses at most the updates since then.

    Weights are counted, and their change is sampled, on the whole model: rows of an embedding table that stay as
    they are because no training row uses them belong to what the method trains.

    Raises:
        TrainingError: nothing trains, or the loss is not finite before anything was learnt.
        RunError: the checkpoint belongs to other data, another model or another recipe.
        KeyboardInterrupt: a stop was asked for; a checkpoint was written first.
    """
    if not _trainable(job.model):
        raise TrainingError(Fault("the method leaves no weight to train", remedy="choose another method or its knobs"))
    counts = count_parameters(job.model, trainable=True), count_parameters(job.model, trainable=False)
    start = _sample(job.model)
    with only_used_rows(job.model, job.layout, job.rows, job.settings) as belongs:
        own = replace(job, identity={**job.identity, **belongs})
        standing, reason = yield from _train(own, counts)
    yield Stopped(standing.step, standing.best_step, reason, _change(start, _sample(job.model)))


def _train(job: Job, counts: tuple[int, int]) -> Generator[Event, None, tuple[Standing, str]]:
    """Make all updates, and say where training stands then and why it ended.

    Args:
        job: of a model that trains only where it must.
        counts: of the weights that the method trains, and of all, to be told.
    """
    plan = UpdatePlan(len(job.rows), job.settings.batch_size or 1, job.settings.epochs or 1, job.seed)
    last = min(plan.updates, job.last_step or plan.updates)
    accelerator = Accelerator()
    optimizer = make_optimizer(job.model, job.settings)
    model, optimizer = accelerator.prepare(job.model, optimizer)
    torch.manual_seed(job.seed)
    standing = _resume(job, optimizer)
    yield Started(standing.step, last, *counts, job.layout.name)
    reason = "all epochs done" if last == plan.updates else f"ended after update {last}, as the recipe says"
    saved_at = time.monotonic()
    with deferred_interrupts() as interrupts:
        while standing.step < last and standing.stale < job.settings.patience:
            stepped = _update(job, plan, accelerator, model, optimizer, standing.step)
            if not math.isfinite(stepped.loss + stepped.gradient_norm):
                yield stepped
                reason = f"the loss is not finite at update {stepped.step}"
                break
            standing.step += 1
            yield stepped
            if standing.step == last or plan.validates_after(standing.step, job.validations_per_epoch):
                yield _validate(job, plan, standing)
            best = standing.best_step == standing.step
            if best or interrupts.requested or time.monotonic() - saved_at > SAVE_SECONDS:
                yield _save(job, optimizer, standing)
                saved_at = time.monotonic()
            if interrupts.requested:
                raise KeyboardInterrupt
    if standing.stale >= job.settings.patience:
        reason = f"no better validation in the last {standing.stale}"
    _keep_best(job, standing, reason)
    return standing, reason


def _update(
    job: Job, plan: UpdatePlan, accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> Stepped:
    """Do one update; its loss is normalised over the supervised positions of all its passes."""
    began = time.perf_counter()
    model.train()
    numbers = plan.rows_of(step)
    rows = [job.rows[i] for i in numbers]
    supervised = max(1, sum(row.weight * job.form.supervised(row) for row in rows))
    total = 0.0
    max_reads = max(1, LOGITS_PER_PASS // classes_of(job.model))
    for chosen in passes_of(job.layout, rows, job.settings.pass_tokens, max_reads):
        items = [rows[i] for i in chosen]
        logits = job.layout.logits(model, [sequence for item in items for sequence in item.sequences])
        losses = job.form.losses(logits.float(), items)
        loss = (losses * losses.new_tensor([item.weight for item in items])).sum() / supervised
        accelerator.backward(loss)
        total += loss.item()
        job.dynamics.add([numbers[i] for i in chosen], losses, [job.form.supervised(item) for item in items])
    norm = float(accelerator.clip_grad_norm_(_trainable(job.model).values(), job.settings.clip_norm))
    rate = learning_rate(step, plan.updates, job.settings)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if math.isfinite(total + norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tokens = sum(len(row.tokens) for row in rows)
    seconds = time.perf_counter() - began
    return Stepped(step + 1, plan.epoch_after(step + 1), total, rate, norm, tokens, seconds)


def _validate(job: Job, plan: UpdatePlan, standing: Standing) -> Validated:
    """Score the validation rows and move the standing's best along."""
    result = job.validate()
    best = standing.best_score is None or (result.score, -result.loss) > (
        standing.best_score,
        -(standing.best_loss or 0.0),
    )
    if best:
        standing.best_step, standing.best_score, standing.best_loss = standing.step, result.score, result.loss
    standing.stale = 0 if best else standing.stale + 1
    return Validated(standing.step, plan.epoch_after(standing.step), result.loss, result.metrics, best)


def _save(job: Job, optimizer: torch.optim.Optimizer, standing: Standing) -> Saved:
    began = time.perf_counter()
    tensors = {
        "weights": _trainable(job.model),
        "optimizer": optimizer_tensors(job.model, optimizer),
        "random": {"torch": torch.get_rng_state()},
        "dynamics": {"sums": job.dynamics.sums},
    }
    save_checkpoint(job.checkpoints, standing, tensors, job.identity)
    return Saved(standing.step, time.perf_counter() - began)


def _resume(job: Job, optimizer: torch.optim.Optimizer) -> Standing:
    """Put weights, optimizer, random state and dynamics back as the latest checkpoint holds them."""
    checkpoint = latest_checkpoint(job.checkpoints, job.identity)
    if checkpoint is None:
        return Standing()
    _load_weights(job.model, checkpoint)
    restore_optimizer(job.model, optimizer, checkpoint.tensors("optimizer"))
    torch.set_rng_state(checkpoint.tensors("random")["torch"])
    job.dynamics.sums.copy_(checkpoint.tensors("dynamics")["sums"])
    return checkpoint.standing


def _keep_best(job: Job, standing: Standing, reason: str) -> None:
    if standing.best_score is None:
        remedy = "lower the rate: --learning-rate with a third of this one; and look at the data with `kamerton audit`"
        raise TrainingError(Fault(f"{reason}, before the first validation", remedy=remedy))
    _load_weights(job.model, best_checkpoint(job.checkpoints, standing))


def _load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    trainable, weights = _trainable(model), checkpoint.tensors("weights")
    if _shapes(trainable) != _shapes(weights):
        rule = "the checkpoint holds other weights than those that train"
        raise RunError(Fault(rule, str(checkpoint.folder), "start a new run with `kamerton tune`"))
    with torch.no_grad():
        for name, value in weights.items():
            trainable[name].copy_(value)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _sample(model: nn.Module) -> Tensor:
    """Copy some entries of each trainable weight, evenly spread."""
    parts = [p.detach().flatten()[:: max(1, p.numel() // SAMPLED)].float().cpu() for p in _trainable(model).values()]
    return torch.cat(parts) if parts else torch.zeros(0)


def _change(start: Tensor, now: Tensor) -> float:
    """Say how far the weights moved, relative to where they began."""
    return float((now - start).norm() / (start.norm() + 1e-12))
