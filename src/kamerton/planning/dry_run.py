"""`kamerton plan`: everything that `tune` would decide, the alternatives, and the cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.files import scratch_folder
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Stage
from kamerton.models.catalog import known
from kamerton.models.heads import empty_model
from kamerton.models.published import KINDS
from kamerton.pipeline.cost import cost_message, estimate_cost
from kamerton.pipeline.freeze import freeze
from kamerton.runs.recipe import Recipe
from kamerton.session.engines import load_base
from kamerton.session.machine import Machine, planned_machine
from kamerton.session.memory import ROOM, Footprint, PassSize
from kamerton.session.new_run import new_run
from kamerton.session.new_tokens import NewTokens, new_tokens_of
from kamerton.session.planner import candidates
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from kamerton.session.trainable import attach
from kamerton.train.batches import UpdatePlan


@dataclass(frozen=True)
class Alternative:
    """What could be chosen instead, with the reason for or against it."""

    setting: str
    value: str
    reason: Wording


@dataclass(frozen=True)
class Needs:
    """What training takes, as predicted."""

    seconds: float | None
    """None where it is not known: on a machine that was never timed."""
    peak_bytes: int
    updates: int


@dataclass(frozen=True)
class DryRun:
    """A plan: the resolved recipe with its reasons, the alternatives, and the cost."""

    recipe: Recipe
    rows: int
    alternatives: tuple[Alternative, ...]
    machine: Machine
    cost: Needs
    new_tokens: NewTokens | None
    """New tokens that would pay."""

    @property
    def fits(self) -> bool:
        """Whether the run fits into the memory that is free."""
        return self.cost.peak_bytes <= ROOM * self.machine.free_bytes


def dry_run(data: Path, settings: Mapping[str, object], described: Machine | None = None) -> Iterator[Stage | DryRun]:
    """Run `tune` up to the first update, in a temporary folder; for a machine that is not here, up to the model.

    Yields:
        The stages as they are done, and last the plan.
    """
    with scratch_folder() as folder:
        run = new_run(data, folder / "plan", settings)
        machine = planned_machine(described, run.recipe.model)  # before the model is loaded, as when `tune` decides
        clock = Clock(run)
        yield from freeze(run, clock, described)
        setup = open_setup(run)
        if machine.here:
            trainable = attach(setup, load_base(setup, make_method(setup.recipe)))
            estimate = estimate_cost(setup, trainable)
            yield clock.stage("forecast", cost_message(estimate))
            cost = Needs(estimate.seconds, estimate.peak_bytes, estimate.updates)
        else:
            cost = _predicted(setup, machine)
        more = new_tokens_of(setup.recipe, setup.split.train, setup.facts, setup.tokenizer)
        others = tuple(_alternatives(setup, machine))
        yield DryRun(run.recipe, len(setup.split.train), others, machine, cost, more)


def _predicted(setup: Setup, machine: Machine) -> Needs:
    """Predict the memory of the largest pass of an epoch, from the lengths of the rows and the model's facts."""
    train, rows = setup.recipe.train, setup.encode([*setup.split.train, *setup.split.added])
    plan = UpdatePlan(len(rows), train.batch_size or 1, train.epochs or 1, setup.recipe.seed)
    tokens = [sum(len(part.tokens) for part in row.sequences) for row in rows]
    outputs = [sum(len(part.output_positions) for part in row.sequences) for row in rows]
    updates = [plan.rows_of(number) for number in range(plan.updates_per_epoch)]
    most, logits = (max(sum(each[i] for i in update) for update in updates) for each in (tokens, outputs))
    size = PassSize(max(max(tokens), min(most, train.pass_tokens)), bool(train.gradient_checkpointing))
    footprint = Footprint.of(make_method(setup.recipe), setup.facts, machine)
    return Needs(None, footprint.peak_bytes(size, min(size.tokens, logits)), plan.updates)


def _alternatives(setup: Setup, machine: Machine) -> list[Alternative]:
    """List the other known models and methods, those that fit first, and of these the most suitable."""
    facts, form = setup.facts, setup.form
    empty = empty_model(facts.folder, form.model_class, form.config)
    models = [
        Alternative("model.name", model.name, _against(model.kind, setup, model.description))
        for model in known()
        if model.name != facts.name
    ]
    methods = [
        Alternative("method.name", one.word, one.reason)
        for one in candidates(facts, len(setup.split.train), machine, empty)
        if one.word != setup.recipe.method.name
    ]
    return [*models, *methods]


def _against(kind: str, setup: Setup, description: Wording) -> Wording:
    if kind not in setup.task.kinds:
        return msg("is of the kind {kind}, which cannot do this task", kind=KINDS[kind])
    if kind != setup.facts.kind:
        usual = KINDS[setup.task.kinds[0]]
        return msg("is of the kind {kind}; the usual kind for this task is {usual}", kind=KINDS[kind], usual=usual)
    return description
