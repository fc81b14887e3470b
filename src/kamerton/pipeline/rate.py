"""`--learning-rate auto`: a learning-rate range test, a few updates at each of four rates on part of the training rows.

Where the best rate is the lowest or the highest, one more is tried beyond it. A run that is longer than the test gets
a lower rate than was best for so few updates.
"""

import hashlib
import math
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import torch

from kamerton.core.errors import TrainingError
from kamerton.core.files import cached
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.pieces import HERE, Done, Workers, WorkItem, Workload
from kamerton.core.records import Encoded, Progress, RunEvent
from kamerton.engine.passes import token_batches
from kamerton.runs.recipe import AUTO, Decision
from kamerton.runs.run import Run
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from kamerton.session.trainable import TrainableModel, make_trainable
from kamerton.train.batches import UpdatePlan
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, train

STEPS_APART = (-1, 0, 1, 2)
"""Powers of 3 around the published rate: rates that are too low lose more than rates that are too high."""
APART = 3.0
UPDATES = 24
"""Updates at each rate: enough to see a rate fail, a small part of any run."""
HORIZON = 0.32
"""The best rate falls with the length of a run to this power (Bjorck et al. 2025, Scaling Optimal LR Across Token
Horizons)."""
AT_ONCE = 16
"""Validation rows in one pass."""
MOST = 10.0
"""No rate is tried from here on: soft prompts, whose rates are the highest, take 0.3."""
SUBSET = 128
"""Most validation rows whose loss decides."""


@dataclass(frozen=True)
class Probed:
    """A rate and its result."""

    rate: float
    loss: float
    """Of validation rows after the test's updates; infinite if training diverged."""


@dataclass(frozen=True)
class RangeTest:
    """What the tries share: the model, which each leaves as it was."""

    run: Run
    setup: Setup
    trainable: TrainableModel

    @classmethod
    def of(cls, run: Path, device: str | None) -> Self:
        """Load what a run will train."""
        opened = Run(run, device=device)
        setup = open_setup(opened)
        return cls(opened, setup, make_trainable(setup))


def settle_rate(
    run: Run, setup: Setup, trainable: TrainableModel, clock: Clock, workers: Workers = HERE
) -> Generator[RunEvent, None, Setup]:
    """Decide an open rate, write it into the run's recipe, and return the setup with it; the model stays as it was."""
    if setup.recipe.train.learning_rate != AUTO:
        return setup
    probed = yield from _range_test(RangeTest(run, setup, trainable), workers)
    best = min(probed, key=lambda one: one.loss)
    probed.sort(key=lambda one: one.rate)
    batch, epochs = setup.recipe.train.batch_size or 1, setup.recipe.train.epochs or 1
    plan = UpdatePlan(len(trainable.rows), batch, epochs, setup.recipe.seed)
    rate = lowered(best.rate, plan.updates)
    reason = _reason(probed, best, min(len(trainable.rows), UPDATES * batch))
    if rate < best.rate:
        rule = "{rate} lowered for {updates} updates (Bjorck et al. 2025), {reason}"
        reason = msg(rule, rate=f"{best.rate:.2g}", updates=plan.updates, reason=reason)
    recipe = setup.recipe.settle({"train.learning_rate": Decision(rate, reason)})
    readings = {f"{one.rate!r}": one.loss if math.isfinite(one.loss) else None for one in probed}
    with run.changing():
        run.write_recipe(recipe)
        run.write_state(replace(run.state, rates=readings, rate=rate))
        stage = clock.stage("rate", msg("{rate}, {reason}", rate=f"{rate:.2g}", reason=reason))
    yield stage
    return replace(setup, recipe=recipe)


def _range_test(test: RangeTest, workers: Workers) -> Generator[RunEvent, None, list[Probed]]:
    """Try the rates, and one beyond them if the best is at the edge."""
    recipe, rows = test.setup.recipe, test.trainable.rows
    center = make_method(recipe).advise(test.setup.facts, len(rows))["learning_rate"].value
    work = Workload(partial(RangeTest.of, test.run.path, test.run.device), _tried, test)
    rates = [center * APART**power for power in STEPS_APART]
    probed = yield from _try_rates(work, rates, [], workers)
    if further := beyond(probed):
        probed = yield from _try_rates(work, [further], probed, workers)
    yield Progress("rate", len(probed), len(probed))
    return probed


def _try_rates(
    work: Workload[RangeTest, float, Probed], rates: Sequence[float], before: Sequence[Probed], workers: Workers
) -> Generator[RunEvent, None, list[Probed]]:
    """Try rates; return what is known of these and of those before."""
    probed, total = list(before), len(before) + len(rates)
    pieces = [WorkItem(msg("learning rate {rate}", rate=f"{rate:.2g}"), rate) for rate in rates]
    yield Progress("rate", len(probed), total)
    for item in workers.carry_out(work, pieces):
        if not isinstance(item, Done):
            yield item
            continue
        probed.append(item.value)
        if len(probed) < total:
            yield Progress("rate", len(probed), total)
    return probed


def _reason(probed: Sequence[Probed], best: Probed, rows: int) -> Message:
    rule = "the best of {count} rates by validation loss after {updates} updates on {rows} rows: {losses}"
    losses = [
        msg("{rate} {loss}", rate=f"{one.rate:.2g}", loss=one.loss)
        if math.isfinite(one.loss)
        else msg("{rate} diverged", rate=f"{one.rate:.2g}")
        for one in probed
    ]
    reason = msg(rule, count=len(probed), updates=UPDATES, rows=rows, losses=Joined(losses, ", "))
    at_edge = best in (probed[0], probed[-1])
    return msg("{reason}; it is at the edge of the range", reason=reason) if at_edge else reason


def beyond(probed: Sequence[Probed]) -> float | None:
    """Return the rate beyond the best of ascending ones if it is the first or the last; None if it is bracketed."""
    best = min(probed, key=lambda one: one.loss)
    if best is probed[-1]:
        return best.rate * APART if best.rate * APART < MOST else None
    return best.rate / APART if best is probed[0] else None


def lowered(rate: float, updates: int) -> float:
    """Return the rate for a run of so many updates that corresponds to the best one of the test's few.

    >>> round(lowered(3e-4, 24 * 10), 6)
    0.000144
    """
    return rate * min(1.0, UPDATES / updates) ** HORIZON


def readings(run: Run) -> dict[float, float]:
    """Return the losses of a run's range test by rate; empty if there was none or a remedy set another rate."""
    state = run.state
    kept = state.rates if state.rate == run.recipe.train.learning_rate else {}
    return {float(rate): math.inf if loss is None else loss for rate, loss in kept.items()}


def _tried(test: RangeTest, rate: float) -> Generator[RunEvent, None, Probed]:
    """Try a rate, or load what was found before a stop."""
    trained = test.setup.recipe.model_dump_json(exclude={"reasons": True, "model": {"device"}})
    name = hashlib.sha256(f"{rate!r} {trained}".encode()).hexdigest()[:16]
    measure = partial(_loss_at, test, rate, test.run.cache / name)
    yield from ()
    return Probed(rate, float(cached(test.run.cache / f"{name}.rate", lambda: repr(measure()).encode())))


def _loss_at(test: RangeTest, rate: float, folder: Path) -> float:
    """Train a few updates at a rate, measure, and restore the weights; the folder is for checkpoints."""
    setup, trainable = test.setup, test.trainable
    untouched = [(p, p.detach().clone()) for p in trainable.model.parameters() if p.requires_grad]
    settings, batch = setup.recipe.train, setup.recipe.train.batch_size or 1
    rows = trainable.rows[: UPDATES * batch]
    epochs = UPDATES / math.ceil(len(rows) / batch)
    subset = setup.encode(setup.split.validation[:SUBSET])
    job = Job(
        model=trainable.model,
        layout=trainable.engine.layout,
        form=setup.form,
        rows=rows,
        validate=partial(_loss, setup, trainable, subset),
        settings=settings.model_copy(update={"learning_rate": rate, "epochs": epochs, "patience": UPDATES}),
        validations_per_epoch=1,
        seed=setup.recipe.seed,
        checkpoints=folder,
        identity={"probe": f"{rate:g}"},
        dynamics=Dynamics.of(len(rows)),
        scaled=setup.recipe.model.precision == "fp16",
    )
    shutil.rmtree(folder, ignore_errors=True)  # of a stop in the middle of it
    try:
        for _ in train(job):
            pass
        return _loss(setup, trainable, subset).loss
    except TrainingError:
        return math.inf
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with torch.no_grad():
            for parameter, value in untouched:
                parameter.copy_(value)


def _loss(setup: Setup, trainable: TrainableModel, subset: list[Encoded]) -> Validation:
    rows = setup.form.with_reference(trainable.engine, subset)
    total, lengths = 0.0, [sum(len(sequence.tokens) for sequence in item.sequences) for item in rows]
    trainable.model.eval()
    for batch in token_batches(lengths, setup.recipe.train.pass_tokens, AT_ONCE):
        items = [rows[i] for i in batch]
        sequences = [sequence for item in items for sequence in item.sequences]
        with torch.no_grad():
            logits = trainable.engine.layout.logits(trainable.model, sequences).float()
            total += float(setup.form.losses(logits, items).sum())
    loss = total / max(1, sum(setup.form.supervised(item) for item in rows))
    loss = loss if math.isfinite(loss) else math.inf
    return Validation(loss, {}, -loss)
