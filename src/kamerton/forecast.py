"""How long training will take and how much memory, foretold before it begins and compared afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.models.engine import LOGITS_PER_PASS, classes_of
from kamerton.models.gauge import Gauge, gauge
from kamerton.models.passes import split_passes
from kamerton.models.precision import speed
from kamerton.prepare import Setup
from kamerton.records import Encoded
from kamerton.report.text import duration, memory
from kamerton.run import Run
from kamerton.system import peak_memory, resident_memory
from kamerton.train.batches import UpdatePlan
from kamerton.train.used_rows import only_used_rows
from kamerton.trainee import Trainee

REACHED = 0.45
"""Share of the speed of a bare matrix product that training passes reach: the rest is what lies between products."""
PER_PASS = 0.005
"""Seconds of a pass that no arithmetic explains."""
PER_TRAINED = 6e-10
"""Seconds of an update for each number that trains: the optimizer reads and writes memory."""
STATE = 24
"""Bytes for each number that trains: its gradient, what AdamW keeps, and weights and state once more while saved."""
SLACK = 1.4
"""How much more memory a pass takes than it keeps: gradients on their way, and room that the allocator leaves."""
GAUGED = 2
"""Rows that the model is gauged on."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of training, validations included, and the most memory that the process will hold."""

    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"training will take about {duration(self.seconds)} and {memory(self.peak_bytes)} of memory"

    def beside(self, measured: Forecast) -> str:
        """Say what it came to, and how far off the forecast was."""
        late = self.seconds / max(measured.seconds, 1e-9) - 1
        large = self.peak_bytes / max(1, measured.peak_bytes) - 1
        return (
            f"training took {duration(measured.seconds)} (foretold {duration(self.seconds)}, {late:+.0%}) "
            f"and {memory(measured.peak_bytes)} of memory (foretold {memory(self.peak_bytes)}, {large:+.0%})"
        )


def forecast(setup: Setup, trainee: Trainee) -> Forecast:
    """Foretell from counted arithmetic, this machine's speed at products, and the rows themselves."""
    settings, rows = setup.recipe.train, trainee.rows
    middle = sorted(rows, key=lambda row: len(row.tokens))[len(rows) // 2 :][:GAUGED]
    layout = trainee.engine.layout
    with only_used_rows(trainee.model, layout, rows, settings):
        costs = gauge(trainee.model, layout, setup.form, middle)
        held = resident_memory()
    plan = UpdatePlan(len(rows), settings.batch_size or 1, settings.epochs or 1, setup.recipe.seed)
    most_reads = max(1, LOGITS_PER_PASS // classes_of(trainee.model))
    passes = [
        part
        for update in range(plan.updates_per_epoch)
        for part in _passes([rows[i] for i in plan.rows_of(update)], settings.pass_tokens, most_reads)
    ]
    rate = speed(setup.recipe.model.precision or "fp32") * REACHED
    epoch = sum(costs.training.of(part.tokens, part.reads) for part in passes) / rate + PER_PASS * len(passes)
    updates = plan.updates * PER_TRAINED * costs.trainable
    validations = _validations(setup, costs, plan.updates / plan.updates_per_epoch)
    most = max(costs.kept.of(part.tokens, part.reads) for part in passes)
    peak = held + STATE * costs.trainable + costs.copied + SLACK * most
    seconds = epoch * plan.updates / plan.updates_per_epoch + updates + validations
    return Forecast(round(seconds, 3), int(max(peak, peak_memory())))


def measured(run: Run) -> Forecast:
    """Say what a run's training took."""
    return Forecast(run.environment["seconds"]["train"], run.environment["peak_bytes"])


@dataclass(frozen=True)
class _Pass:
    tokens: int
    reads: int


def _passes(rows: Sequence[Encoded], tokens: int, reads: int) -> list[_Pass]:
    lengths = [sum(len(sequence.tokens) for sequence in row.sequences) for row in rows]
    wanted = [sum(len(sequence.reads) for sequence in row.sequences) for row in rows]
    parts = split_passes(lengths, wanted, tokens, reads)
    return [_Pass(sum(lengths[i] for i in part), sum(wanted[i] for i in part)) for part in parts]


def _validations(setup: Setup, costs: Gauge, epochs: float) -> float:
    """Foretell the seconds of all validations: their rows are read, and some are answered token by token."""
    rows = setup.encode(setup.split.validation)
    tokens, reads = sum(len(row.tokens) for row in rows), sum(len(row.reads) for row in rows)
    rate = speed("fp32") * REACHED
    once = costs.reading.of(tokens, reads) / rate
    watched = len(setup.form.watched(setup.split.validation))
    if watched < len(rows):
        new = setup.recipe.evaluate.max_new_tokens or 1
        # one token for a few rows costs little more than for one: the weights have to come from memory each time
        once += new * max(costs.reading.of(watched, watched) / rate, PER_PASS)
    return once * max(1.0, epochs * setup.recipe.evaluate.validations_per_epoch)
