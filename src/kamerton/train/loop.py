"""The training loop: a generator of events; the caller renders or records them, and stops by leaving the loop."""

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from kamerton.core.contracts import Objective
from kamerton.core.errors import Fault, RunError, TrainingError
from kamerton.core.messages import Message, msg
from kamerton.core.records import (
    Encoded,
    Event,
    Halved,
    Overflowed,
    SampleAnswer,
    Saved,
    Started,
    Stepped,
    Stopped,
    Validated,
)
from kamerton.engine.engine import LOGITS_PER_PASS, classes_of
from kamerton.engine.layout import Layout
from kamerton.engine.passes import passes_of
from kamerton.kernels.device import (
    LESS_MEMORY,
    name_of,
    random_states,
    release,
    set_random_states,
    synchronize,
)
from kamerton.kernels.processes import StopTogether, gathered, rank, shared, summed
from kamerton.kernels.trial import is_out_of_memory
from kamerton.models.load import count_parameters
from kamerton.models.structure import device_of
from kamerton.runs.recipe import TrainSettings
from kamerton.train.batches import UpdatePlan
from kamerton.train.checkpoint import Checkpoint, TrainState, best_checkpoint, latest_checkpoint, save_checkpoint
from kamerton.train.dynamics import Dynamics
from kamerton.train.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from kamerton.train.parallel import SHARDED, OneProcess, Pass, divided
from kamerton.train.scaling import FIRST, grow, shrink, unscale
from kamerton.train.used_rows import only_used_rows

SAVE_SECONDS = 60.0
"""A checkpoint is due after this long, best or not."""
SAMPLED = 4096
"""Entries of each weight whose change is measured."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
QUICK = 1.0
"""Seconds in which further signals are the same request: a scheduler's own and the launcher's come at once."""


@dataclass(frozen=True)
class Validation:
    """The result of a validation."""

    loss: float
    metrics: Mapping[str, float]
    score: float
    """Selects the checkpoint: higher is better; ties are broken by the lower loss."""
    samples: tuple[SampleAnswer, ...] = ()


@dataclass(frozen=True)
class Job:
    """The inputs of training."""

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
    """Fingerprints of data, model and recipe; a checkpoint with others is refused."""
    dynamics: Dynamics
    """The dynamics of each row, which training fills and checkpoints keep."""
    last_step: int | None = None
    """The update to end after; None for the last one."""
    scaled: bool = False
    """Whether losses are scaled, as products in fp16 need it."""
    asked_to_end: Callable[[int], bool] = lambda epoch: False
    """Returns whether a person has asked to end training after an epoch, counted from 1; asked of rank 0 alone."""


@dataclass
class _Training:
    """A job under way."""

    job: Job
    ways: OneProcess
    """How the processes that there are divide the work."""
    plan: UpdatePlan
    optimizer: torch.optim.Optimizer
    state: TrainState

    def asked_to_end(self) -> bool:
        """Return rank 0's answer to whether training is to end here, at the end of an epoch."""
        epoch = self.plan.epoch_ended(self.state.step)
        return epoch is not None and shared(rank() == 0 and self.job.asked_to_end(epoch))


@dataclass(frozen=True)
class _End:
    """How training ended."""

    state: TrainState
    reason: Message
    asked: bool


def train(job: Job) -> Iterator[Event]:
    """Train `job.model` in place, up to the weights of its best validation.

    Continues from the latest checkpoint if there is one, to the same final weights as an uninterrupted run, bit for bit
    on a CPU. Leaving the loop early (`break`) loses the updates since that checkpoint.

    Weights are counted, and their change is sampled, on the whole model: rows of an embedding table that no training
    row uses count as trained.

    Raises:
        TrainingError: nothing trains, or no validation has a finite score and loss.
        RunError: the checkpoint belongs to other data, another model or another recipe.
        KeyboardInterrupt: a stop was requested; a checkpoint was written first.
    """
    if not _trainable(job.model):
        remedy = msg("choose another method or other settings of it")
        raise TrainingError(Fault(msg("the method leaves no weight to train"), remedy=remedy))
    counts = count_parameters(job.model, trainable=True), count_parameters(job.model, trainable=False)
    start = _sample(job.model)
    used: AbstractContextManager[Mapping[str, str]] = nullcontext({})
    if job.settings.parallel != SHARDED:  # else no process has the table
        used = only_used_rows(job.model, job.layout, job.rows, job.settings)
    with used as belongs:
        own = replace(job, identity={**job.identity, **belongs})
        ways = divided(job.model, job.layout, job.rows, job.settings)
        end = yield from _train(own, ways, counts)
    change = (_sample(job.model, ways.whole) - start).norm() / (start.norm() + 1e-12)
    yield Stopped(end.state.step, end.state.best_step, end.reason, float(change), end.asked)


def _train(job: Job, ways: OneProcess, counts: tuple[int, int]) -> Generator[Event, None, _End]:
    """Make all updates. `counts` are of trained and of all weights."""
    plan = UpdatePlan(len(job.rows), job.settings.batch_size or 1, job.settings.epochs or 1, job.seed)
    last = min(plan.updates, job.last_step or plan.updates)
    optimizer = make_optimizer(job.model, job.settings)
    torch.manual_seed(job.seed)
    state = _resume(job, ways, optimizer)
    training = _Training(job, ways, plan, optimizer, state)
    yield Started(state.step, last, *counts, job.layout.name)
    reason = msg("all epochs done")
    if last < plan.updates:
        reason = msg("ended after update {last}, as the recipe says", last=last)
    saved_at = time.monotonic()
    asked = state.step < last and training.asked_to_end()  # where a kill came between that end and the model
    with _deferred_interrupts() as stop_requested:
        while not asked and state.step < last and state.stale < job.settings.patience:
            stepped = yield from _update(training)
            finite = math.isfinite(stepped.loss + stepped.gradient_norm)
            overflowed = not finite and math.isfinite(stepped.loss) and shrink(state)
            yield Overflowed(stepped.step, state.scale) if overflowed else stepped
            if not (finite or overflowed):
                reason = msg("the loss is not finite at update {step}", step=stepped.step)
                break
            if finite:
                grow(state)
            state.step += 1
            asked = state.step < last and training.asked_to_end()
            if asked or state.step == last or plan.validates_after(state.step, job.validations_per_epoch):
                yield _validate(training)
            best = state.best_step == state.step
            due, stops = shared((time.monotonic() - saved_at > SAVE_SECONDS, stop_requested()))
            if best or due or stops:
                yield _save(training)
                saved_at = time.monotonic()
            if stops:
                raise StopTogether
    if asked:
        reason = msg("ended after epoch {epoch}, as was asked", epoch=round(plan.epoch_after(state.step)))
    if state.stale >= job.settings.patience:
        reason = msg("no better score in the last {count} {count:validation|validations}", count=state.stale)
    _keep_best(job, ways, state, reason)
    return _End(state, reason, asked)


def _update(training: _Training) -> Generator[Event, None, Stepped]:
    """Do one update."""
    job, plan, state, began = training.job, training.plan, training.state, time.perf_counter()
    device, step, optimizer = device_of(job.model), state.step, training.optimizer
    job.model.train()
    training.ways.begin(job.seed, step)
    numbers = plan.rows_of(step)
    total = yield from _gradients_in_memory(training, numbers)
    weights = list(_trainable(job.model).values())
    unscale(weights, state.scale)
    norm = training.ways.number(clip_grad_norm_(weights, job.settings.clip_norm))
    rate = learning_rate(step, plan.updates, job.settings)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if math.isfinite(total + norm):
        with training.ways.within_memory(_too_little(device, step)):  # the first one allocates its state
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    synchronize(device)
    tokens, seconds = sum(len(job.rows[i].tokens) for i in numbers), time.perf_counter() - began
    return Stepped(step + 1, plan.epoch_after(step + 1), total, rate, norm, tokens, seconds)


def _gradients_in_memory(training: _Training, numbers: Sequence[int]) -> Generator[Event, None, float]:
    """Compute the gradients of an update; if memory runs out, once more in passes of half the size.

    Raises:
        TrainingError: it runs out again, or a pass has only one row, or other processes cannot wait for this one.
    """
    device, step = device_of(training.job.model), training.state.step
    for again in (True, False):
        try:
            return float(summed(torch.tensor(_gradients(training, numbers), dtype=torch.float64)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        training.job.model.zero_grad(set_to_none=True)
        release(device)  # all of the failed pass: the exception, whose frames held it, is gone
        tokens = min(gathered(_half_pass(training.job, numbers)))
        if not (again and tokens):
            break
        yield Halved(step, tokens)
        settings = training.job.settings.model_copy(update={"tokens_per_pass": tokens})
        training.job = replace(training.job, settings=settings)
    raise TrainingError(Fault(_too_little(device, step), remedy=LESS_MEMORY))


def _too_little(device: torch.device, step: int) -> Message:
    return msg("the memory of {device} does not suffice for update {step}", device=name_of(device), step=step + 1)


def _half_pass(job: Job, numbers: Sequence[int]) -> int:
    """Return half the tokens of the largest pass of an update; 0 if no pass has several rows."""
    several = [[job.rows[i] for i in chosen] for chosen in _passes(job, numbers) if len(chosen) > 1]
    return max((sum(len(one.tokens) for row in some for one in row.sequences) for some in several), default=0) // 2


def _passes(job: Job, numbers: Sequence[int]) -> list[list[int]]:
    """Split rows, by number, into forward passes."""
    max_outputs = max(1, LOGITS_PER_PASS // classes_of(job.model))
    passes = passes_of(job.layout, [job.rows[i] for i in numbers], job.settings.pass_tokens, max_outputs)
    return [[numbers[i] for i in chosen] for chosen in passes]


def _gradients(training: _Training, numbers: Sequence[int]) -> float:
    """Add the scaled gradients of this process's share of an update's rows.

    Returns:
        Its part of the loss, which is normalized over the supervised positions of all rows.
    """
    job, ways = training.job, training.ways
    supervised = max(1, sum(job.rows[i].weight * job.form.supervised(job.rows[i]) for i in numbers))
    own = ways.share(numbers, [sum(len(one.tokens) for one in job.rows[i].sequences) for i in numbers])
    *passes, last = ways.aligned(_passes(job, own), numbers)
    with ways.agreeing_on_memory():
        visits = [_gradients_of(training, one, supervised) for one in passes]
    with ways.exchanging(_too_little(device_of(job.model), training.state.step)):
        visits.append(_gradients_of(training, last, supervised))
    total = 0.0
    for loss, one, losses in visits:
        if one.counts:
            total += loss
            job.dynamics.add(one.rows, losses, [job.form.supervised(job.rows[i]) for i in one.rows])
    return total


def _gradients_of(training: _Training, one: Pass, supervised: float) -> tuple[float, Pass, Tensor]:
    """Add the gradients of a pass; return its part of the loss, itself, and the loss of each of its rows."""
    job, ways = training.job, training.ways
    items = [job.rows[i] for i in one.rows]
    logits = ways.logits([sequence for item in items for sequence in item.sequences])
    losses = job.form.losses(logits.float(), items).cpu()  # what follows is done on the host: one copy a pass
    loss = (losses * losses.new_tensor([item.weight for item in items])).sum() / supervised
    (loss * training.state.scale * ways.counted(one)).backward()
    return loss.item(), one, losses.detach()


def _validate(training: _Training) -> Validated:
    state = training.state
    with training.ways.undivided():
        result = shared(training.job.validate())
    best = state.best_score is None or (result.score, -result.loss) > (state.best_score, -(state.best_loss or 0.0))
    best = best and math.isfinite(result.score) and not math.isnan(result.loss)
    if best:
        state.best_step, state.best_score, state.best_loss = state.step, result.score, result.loss
    state.stale = 0 if best else state.stale + 1
    epoch = training.plan.epoch_after(state.step)
    return Validated(state.step, epoch, result.loss, result.metrics, best, result.samples)


def _save(training: _Training) -> Saved:
    """Write a checkpoint by rank 0, of what all ranks have."""
    began, job, ways = time.perf_counter(), training.job, training.ways
    tensors = {
        "weights": ways.whole(_trainable(job.model)),
        "optimizer": ways.whole(optimizer_tensors(job.model, training.optimizer)),
        "random": random_states(device_of(job.model)),
        "dynamics": {"sums": summed(job.dynamics.sums)},
    }
    if rank() == 0:
        save_checkpoint(job.checkpoints, training.state, tensors, job.identity)
    return Saved(training.state.step, time.perf_counter() - began)


def _resume(job: Job, ways: OneProcess, optimizer: torch.optim.Optimizer) -> TrainState:
    """Restore weights, optimizer, random state and dynamics from the latest checkpoint."""
    checkpoint = shared(latest_checkpoint(job.checkpoints, job.identity) if rank() == 0 else None)
    if checkpoint is None:
        return TrainState(scale=FIRST if job.scaled else 1.0)
    _load_weights(job.model, ways.part, checkpoint)
    restore_optimizer(job.model, optimizer, checkpoint.tensors("optimizer"), ways.part)
    set_random_states(device_of(job.model), checkpoint.tensors("random"))
    if rank() == 0:  # the others add what they compute from now on
        job.dynamics.sums.copy_(checkpoint.tensors("dynamics")["sums"])
    return checkpoint.state


def _keep_best(job: Job, ways: OneProcess, state: TrainState, reason: Message) -> None:
    if state.best_score is None:
        remedy = msg(
            "lower the rate: --learning-rate with a third of this one; and check the data with `kamerton audit`"
        )
        rule = "{reason}, and no validation was finite" if state.stale else "{reason}, before the first validation"
        raise TrainingError(Fault(msg(rule, reason=reason), remedy=remedy))
    job.dynamics.sums.copy_(summed(job.dynamics.sums))
    if best := shared(best_checkpoint(job.checkpoints, state) if rank() == 0 else None):
        _load_weights(job.model, ways.part, best)


def load_best(model: nn.Module, checkpoints: Path) -> None:
    """Load the best weights of a training that has ended into a model like the one that was trained.

    Raises:
        RunError: the checkpoints are damaged, or are of another model.
    """
    last = latest_checkpoint(checkpoints, {})
    if last is None:
        remedy = msg("`kamerton resume` continues from the checkpoint before it")
        raise RunError(Fault(msg("the best checkpoint is missing or damaged"), str(checkpoints), remedy))
    _load_weights(model, _undivided, best_checkpoint(checkpoints, last.state))


def _load_weights(model: nn.Module, part: Callable[[Tensor, Tensor], Tensor], checkpoint: Checkpoint) -> None:
    trainable, weights = _trainable(model), checkpoint.tensors("weights")
    if {name: one.shape for name, one in trainable.items()} != {name: one.shape for name, one in weights.items()}:
        rule = msg("the checkpoint holds other weights than those that train")
        raise RunError(Fault(rule, str(checkpoint.folder), msg("start a new run with `kamerton tune`")))
    with torch.no_grad():
        for name, value in weights.items():
            trainable[name].copy_(part(value, trainable[name]))


def _undivided(value: Tensor, _like: Tensor) -> Tensor:
    return value


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _sample(model: nn.Module, whole: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict) -> Tensor:
    """Return some entries of each weight that trains, in fp32; `whole` undivides them."""
    weights = whole(_trainable(model)).values()
    return torch.cat([one.detach().flatten()[:: max(1, one.numel() // SAMPLED)].float() for one in weights]).cpu()


@contextmanager
def _deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """While active, only record the first SIGINT or SIGTERM, so that an update is completed; yield whether one came."""
    requested: float | None = None
    if threading.current_thread() is not threading.main_thread():  # which alone receives signals
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def record(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested is None:
            requested = time.monotonic()
        elif time.monotonic() - requested > QUICK:
            restore()
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, record)
    try:
        yield lambda: requested is not None
    finally:
        restore()
