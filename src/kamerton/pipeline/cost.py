"""The cost of training in seconds and memory: estimated before it begins, and measured afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch

from kamerton.core.contracts import Objective
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, Value, msg
from kamerton.core.outcomes import Resources
from kamerton.core.records import Encoded, Stepped
from kamerton.engine.engine import LOGITS_PER_PASS, classes_of
from kamerton.engine.passes import passes_of
from kamerton.engine.profile import FlopProfile, MemoryProfile, profile_flops, profile_memory
from kamerton.kernels.device import (
    CPU,
    held_bytes,
    name_of,
    own_random_states,
    peak_bytes,
    release,
    synchronize,
    within_memory,
)
from kamerton.kernels.processes import launched
from kamerton.models.structure import device_of
from kamerton.runs.run import Run
from kamerton.session.setup import Setup
from kamerton.session.trainable import TrainableModel
from kamerton.train.batches import UpdatePlan
from kamerton.train.used_rows import only_used_rows

PER_WEIGHT = 4e-10
"""Seconds per weight to generate one token, however few rows: weights are read from memory."""
PER_TRAINED, PER_SAVED = 6e-10, 4e-8
"""Seconds per trained parameter: of an update by the optimizer; of a checkpoint."""
STATE = 12
"""Bytes per trained parameter: AdamW's states, and one more gradient before it is added."""
SLACK, ROOM = 1.3, 2e8
"""Memory relative to the tensors' own, for fragmentation; and bytes for all else in a process, such as libraries."""
PACKED = 4
"""Bytes per weight that are held beside it while answers are generated: `kamerton.kernels.prepacked`."""
TRIED_TOKENS, TRIED_SECONDS, TRIES = 640, 1.0, 5
"""Tokens of a timed pass, seconds of timing, and most repetitions."""
WEIGHED_TOKENS = 2 * TRIED_TOKENS
"""Tokens of the largest pass whose memory is profiled."""


def cost_message(estimate: Resources) -> Message:
    """Describe the estimated cost of training."""
    took, memory = Figure(estimate.seconds, "duration"), Figure(estimate.peak_bytes, "memory")
    return msg("training will take about {time} and {memory} of memory", time=took, memory=memory)


def measured_message(estimate: Resources, measured: Resources) -> Message:
    """Describe what training took, and the error of the estimate for as many updates."""
    due = estimate.until(measured.updates)
    expected: Value = Figure(due.seconds, "duration")
    if due.updates < estimate.updates:
        rule = "{time} for {made} of {planned} updates"
        expected = msg(rule, time=expected, made=due.updates, planned=estimate.updates)
    return msg(
        "training took {time} (estimated {expected}, {late}) and {memory} of memory (estimated {due}, {large})",
        time=Figure(measured.seconds, "duration"),
        expected=expected,
        late=Figure(due.seconds / max(measured.seconds, 1e-9) - 1, "change"),
        memory=Figure(measured.peak_bytes, "memory"),
        due=Figure(due.peak_bytes, "memory"),
        large=Figure(due.peak_bytes / max(1, measured.peak_bytes) - 1, "change"),
    )


def estimate_cost(setup: Setup, trainable: TrainableModel) -> Resources:
    """Estimate the cost from counted FLOPs, and from what passes over usual rows take on this machine now.

    Raises:
        TrainingError: the memory does not suffice for them.
    """
    work = _Work.of(setup, trainable)
    device = device_of(trainable.model)
    release(device)
    held = held_bytes(device)
    rule = msg("the memory of {device} does not suffice to try usual passes", device=name_of(device))
    used_rows = only_used_rows(trainable.model, trainable.engine.layout, trainable.rows, setup.recipe.train)
    with within_memory(rule), used_rows:
        tried = _try(trainable, setup.form, work)
    release(device)
    peak = held + (ROOM if device == CPU else 0.0) + _memory(setup, work, tried)
    processes, _ = launched()  # among which rows are dealt out; what they exchange is not in the estimate
    seconds = round(_seconds(setup, work, tried) / processes, 3)
    return Resources(seconds, int(max(peak, peak_bytes(device))), work.plan.updates)


def measured(run: Run) -> Resources:
    """Return what a run's training took."""
    made = max(event.step for event in run.events() if isinstance(event, Stepped))
    return Resources(run.state.seconds["train"], run.state.peak_bytes, made)


@dataclass(frozen=True)
class _ForwardPass:
    rows: Sequence[Encoded]

    @cached_property
    def sequences(self) -> list[Encoded]:
        return [sequence for row in self.rows for sequence in row.sequences]

    @cached_property
    def tokens(self) -> int:
        return sum(len(sequence.tokens) for sequence in self.sequences)

    @cached_property
    def outputs(self) -> int:
        return sum(len(sequence.output_positions) for sequence in self.sequences)

    def some(self, tokens: int) -> _ForwardPass:
        """Return its first rows, up to about so many tokens."""
        ends = accumulate(_ForwardPass([row]).tokens for row in self.rows)
        return _ForwardPass(self.rows[: 1 + sum(end < tokens for end in ends)])


@dataclass(frozen=True)
class _Work:
    """What training will do."""

    plan: UpdatePlan
    passes: Sequence[_ForwardPass]
    """Of an epoch, from the smallest to the largest."""
    validated: _ForwardPass
    """All rows of a validation."""
    answered: int
    """How many of them are answered; where these are not all, answers are generated token by token."""

    @classmethod
    def of(cls, setup: Setup, trainable: TrainableModel) -> _Work:
        settings, rows, layout = setup.recipe.train, trainable.rows, trainable.engine.layout
        plan = UpdatePlan(len(rows), settings.batch_size or 1, settings.epochs or 1, setup.recipe.seed)
        reads = LOGITS_PER_PASS // classes_of(trainable.model)
        updates = ([rows[i] for i in plan.rows_of(update)] for update in range(plan.updates_per_epoch))
        passes = [
            _ForwardPass([update[i] for i in part])
            for update in updates
            for part in passes_of(layout, update, settings.pass_tokens, max(1, reads))
        ]
        ordered = sorted(passes, key=lambda part: part.tokens)
        validation = setup.split.validation
        answered = len(setup.form.validation_subset(validation))
        return cls(plan, ordered, _ForwardPass(setup.encode(validation)), answered)

    @cached_property
    def usual(self) -> _ForwardPass:
        """A pass of usual size, or a part of it."""
        return self.passes[len(self.passes) // 2].some(TRIED_TOKENS)


@dataclass(frozen=True)
class _Tried:
    """Seconds and bytes of the passes that were run."""

    costs: FlopProfile
    learning: float
    """Seconds of a usual pass, forward and backward."""
    new: float
    """Seconds per token of a first pass without gradients: all layers run."""
    again: float
    """Seconds per token of a repeated pass, with the activations of frozen layers cached."""
    most: float
    """Bytes of the largest pass."""
    read: float
    """Bytes per token of a pass without gradients."""


def _try(trainable: TrainableModel, form: Objective, work: _Work) -> _Tried:
    """Profile a usual pass, forward and backward, and passes over validation rows."""
    model, layout = trainable.model, trainable.engine.layout
    device = device_of(model)
    usual, validated = work.usual, work.validated.some(TRIED_TOKENS)

    def learn() -> None:
        form.losses(layout.logits(model, usual.sequences).float(), usual.rows).sum().backward()

    def read() -> None:
        with torch.no_grad():
            layout.logits(model, validated.sequences)

    costs = profile_flops(model, layout, form, usual.rows)
    with own_random_states(device):
        learning = _fastest(device, learn, TRIES)
        model.zero_grad(set_to_none=True)
        model.eval()
        new, again = _fastest(device, read, 1) / validated.tokens, _fastest(device, read, TRIES) / validated.tokens
        with MemoryProfile() as profile:
            read()
    largest = work.passes[-1]
    some = largest.some(WEIGHED_TOKENS)
    most: float = profile_memory(model, layout, form, some.rows)
    if some.tokens < largest.tokens:  # a very large pass is extrapolated from a part of it
        less = profile_memory(model, layout, form, usual.rows)
        each = (most - less) / max(1, some.tokens - usual.tokens)
        most = less + max(0.0, each) * (largest.tokens - usual.tokens)
    return _Tried(costs, learning, new, again, most, profile.peak / validated.tokens)


def _fastest(device: torch.device, run: Callable[[], None], times: int) -> float:
    """Return the seconds of the fastest of some runs: other load on the machine slows the rest."""
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < TRIED_SECONDS:
        synchronize(device)
        began = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _seconds(setup: Setup, work: _Work, tried: _Tried) -> float:
    costs, plan, usual = tried.costs, work.plan, work.usual
    epoch = sum(costs.of(part.tokens, part.outputs) for part in work.passes)
    update = epoch / plan.updates_per_epoch * tried.learning / costs.of(usual.tokens, usual.outputs)
    validations = max(1.0, plan.updates / plan.updates_per_epoch * setup.recipe.evaluate.validations_per_epoch)
    # activations of frozen layers are cached: what the fastest pass skipped is computed once
    once = max(0.0, tried.new - tried.again) * sum(part.tokens for part in work.passes)
    learned = plan.updates * (update + PER_TRAINED * costs.trainable)
    return once + learned + validations * (_validation(setup, work, tried) + PER_SAVED * costs.trainable)


def _memory(setup: Setup, work: _Work, tried: _Tried) -> float:
    """Estimate the bytes beyond what is held: optimizer states, and the largest set of tensors held at once."""
    read = tried.read * min(work.validated.tokens, setup.recipe.train.pass_tokens)
    written = PACKED * setup.facts.parameters if work.answered < len(work.validated.rows) else 0
    return STATE * tried.costs.trainable + SLACK * max(tried.most, read + written)


def _validation(setup: Setup, work: _Work, tried: _Tried) -> float:
    """Estimate the seconds of a validation: its rows are read, and some answers are generated token by token."""
    rows, read = work.validated, tried.again * work.validated.tokens
    if work.answered == len(rows.rows):
        return read
    prompts = tried.new * rows.tokens * work.answered / len(rows.rows)
    token = max(tried.new * work.answered, PER_WEIGHT * setup.facts.parameters)
    return read + prompts + token * (setup.recipe.evaluate.max_new_tokens or 1)
