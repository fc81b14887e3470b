"""How long training will take and how much memory, foretold before it begins and compared afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch

from kamerton.contracts import Form
from kamerton.models.engine import LOGITS_PER_PASS, classes_of
from kamerton.models.gauge import Gauge, gauge
from kamerton.models.passes import split_passes
from kamerton.prepare import Setup
from kamerton.records import Encoded, Stepped
from kamerton.report.text import duration, memory
from kamerton.run import Run
from kamerton.system import peak_memory, resident_memory
from kamerton.train.batches import UpdatePlan
from kamerton.train.used_rows import only_used_rows
from kamerton.trainee import Trainee

PER_STEP = 0.005
"""Seconds of writing one token that no arithmetic explains."""
PER_TRAINED = 6e-10
"""Seconds of an update for each number that trains: the optimizer reads and writes memory."""
STATE = 12
"""Bytes for each number that trains: its gradient and what AdamW keeps."""
SLACK, ROOM = 1.2, 5e7
"""How much more memory a pass takes than it keeps: gradients on their way; and bytes that the allocator leaves over."""
LAYERS_READ = 2
"""How many layers' states a pass without gradients holds at a time."""
TRIED_TOKENS, TRIED_SECONDS, TRIES = 640, 1.0, 5
"""A pass is tried with about so many tokens, for so long, and so often at most."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of training, validations included, and the most memory that the process will hold."""

    seconds: float
    peak_bytes: int
    updates: int
    """That the seconds are for."""

    def __str__(self) -> str:
        return f"training will take about {duration(self.seconds)} and {memory(self.peak_bytes)} of memory"

    def until(self, updates: int) -> Forecast:
        """Give what it says of so many of its updates: training may end before all are made."""
        return replace(self, seconds=round(self.seconds * updates / self.updates, 3), updates=updates)

    def beside(self, measured: Forecast) -> str:
        """Say what it came to, and how far off the forecast of as many updates was."""
        due = self.until(measured.updates)
        late = due.seconds / max(measured.seconds, 1e-9) - 1
        large = due.peak_bytes / max(1, measured.peak_bytes) - 1
        part = f" for {due.updates:,} of {self.updates:,} updates" if due.updates < self.updates else ""
        return (
            f"training took {duration(measured.seconds)} (foretold {duration(due.seconds)}{part}, {late:+.0%}) "
            f"and {memory(measured.peak_bytes)} of memory (foretold {memory(due.peak_bytes)}, {large:+.0%})"
        )


def forecast(setup: Setup, trainee: Trainee) -> Forecast:
    """Foretell from counted arithmetic, and from what a pass over usual rows takes on this machine now."""
    settings, rows, layout = setup.recipe.train, trainee.rows, trainee.engine.layout
    plan = UpdatePlan(len(rows), settings.batch_size or 1, settings.epochs or 1, setup.recipe.seed)
    most_reads = max(1, LOGITS_PER_PASS // classes_of(trainee.model))
    passes = [
        part
        for update in range(plan.updates_per_epoch)
        for part in _passes([rows[i] for i in plan.rows_of(update)], settings.pass_tokens, most_reads)
    ]
    usual = sorted(passes, key=lambda part: part.tokens)[len(passes) // 2].some(TRIED_TOKENS)
    validated = _Pass(setup.encode(setup.split.validation))
    held = resident_memory()
    with only_used_rows(trainee.model, layout, rows, settings):
        costs = gauge(trainee.model, layout, setup.form, usual.rows)
        speeds = _time(trainee, setup.form, costs, usual)
    epoch = sum(costs.training.of(part.tokens, part.reads) for part in passes) / speeds.training
    updates = plan.updates * PER_TRAINED * costs.trainable
    validations = _validations(setup, validated, costs, speeds, plan.updates / plan.updates_per_epoch)
    most = max(costs.kept.of(part.tokens, part.reads) for part in passes)
    read = LAYERS_READ / setup.facts.layers * costs.kept.per_token * min(validated.tokens, settings.pass_tokens)
    peak = held + STATE * costs.trainable + costs.copied + SLACK * most + read + ROOM
    seconds = epoch * plan.updates / plan.updates_per_epoch + updates + validations
    return Forecast(round(seconds, 3), int(max(peak, peak_memory())), plan.updates)


def measured(run: Run) -> Forecast:
    """Say what a run's training took."""
    made = max(event.step for event in run.events() if isinstance(event, Stepped))
    return Forecast(run.environment["seconds"]["train"], run.environment["peak_bytes"], made)


@dataclass(frozen=True)
class _Pass:
    rows: Sequence[Encoded]

    @cached_property
    def tokens(self) -> int:
        return sum(len(sequence.tokens) for row in self.rows for sequence in row.sequences)

    @cached_property
    def reads(self) -> int:
        return sum(len(sequence.reads) for row in self.rows for sequence in row.sequences)

    def some(self, tokens: int) -> _Pass:
        """Give its first rows, up to about so many tokens."""
        ends = accumulate(len(sequence.tokens) for row in self.rows for sequence in row.sequences)
        return _Pass(self.rows[: 1 + sum(end < tokens for end in ends)])


def _passes(rows: Sequence[Encoded], tokens: int, reads: int) -> list[_Pass]:
    whole = [_Pass([row]) for row in rows]
    parts = split_passes([one.tokens for one in whole], [one.reads for one in whole], tokens, reads)
    return [_Pass([rows[i] for i in part]) for part in parts]


@dataclass(frozen=True)
class _Speeds:
    """Floating-point operations per second that passes reach, all that lies between products included."""

    training: float
    reading: float


def _time(trainee: Trainee, form: Form, costs: Gauge, part: _Pass) -> _Speeds:
    """Time passes over the same rows, forward and backward, and forward alone; the fastest counts."""
    model, layout = trainee.model, trainee.engine.layout
    sequences = [sequence for row in part.rows for sequence in row.sequences]

    def learn() -> None:
        form.losses(layout.logits(model, sequences).float(), part.rows).sum().backward()

    def read() -> None:
        with torch.no_grad():
            layout.logits(model, sequences)

    with torch.random.fork_rng():
        model.train()
        training = costs.training.of(part.tokens, part.reads) / _fastest(learn)
        model.zero_grad(set_to_none=True)
        model.eval()
        reading = costs.reading.of(part.tokens, part.reads) / _fastest(read)
    return _Speeds(training, reading)


def _fastest(run: Callable[[], None]) -> float:
    """Give the seconds of the fastest of some runs: what else the machine did makes the others slower."""
    seconds: list[float] = []
    while len(seconds) < TRIES and sum(seconds) < TRIED_SECONDS:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _validations(setup: Setup, rows: _Pass, costs: Gauge, speeds: _Speeds, epochs: float) -> float:
    """Foretell the seconds of all validations: their rows are read, and some are answered token by token."""
    once = costs.reading.of(rows.tokens, rows.reads) / speeds.reading
    watched = len(setup.form.watched(setup.split.validation))
    if watched < len(rows.rows):
        new = setup.recipe.evaluate.max_new_tokens or 1
        # one token for a few rows costs little more than for one: the weights have to come from memory each time
        once += new * max(costs.reading.of(watched, watched) / speeds.reading, PER_STEP)
    return once * max(1.0, epochs * setup.recipe.evaluate.validations_per_epoch)
