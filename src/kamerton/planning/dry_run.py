"""`kamerton plan`: everything that `tune` would decide, the alternatives, and the cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kamerton.core.files import scratch_folder
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Resources
from kamerton.core.records import Stage
from kamerton.kernels.device import choose_device, free_bytes
from kamerton.models.catalog import known
from kamerton.models.heads import empty_model
from kamerton.models.published import KINDS
from kamerton.pipeline.cost import cost_message, estimate_cost
from kamerton.pipeline.prepare import freeze
from kamerton.runs.recipe import Recipe
from kamerton.session.engines import load_base
from kamerton.session.new_run import new_run
from kamerton.session.new_tokens import NewTokens, new_tokens_of
from kamerton.session.planner import ROOM, candidates
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from kamerton.session.trainable import attach


@dataclass(frozen=True)
class Alternative:
    """What could be chosen instead, with the reason for or against it."""

    setting: str
    value: str
    reason: Wording


@dataclass(frozen=True)
class DryRun:
    """A plan: the resolved recipe with its reasons, the alternatives, and the cost."""

    recipe: Recipe
    rows: int
    alternatives: tuple[Alternative, ...]
    forecast: Resources
    free_bytes: int
    new_tokens: NewTokens | None
    """New tokens that would pay."""

    @property
    def fits(self) -> bool:
        """Whether the run fits into the memory that is free now."""
        return self.forecast.peak_bytes <= ROOM * self.free_bytes


def dry_run(data: Path, settings: Mapping[str, object]) -> Iterator[Stage | DryRun]:
    """Run `tune` up to the first update, in a temporary folder.

    Yields:
        The stages as they are done, and last the plan.
    """
    with scratch_folder() as folder:
        run = new_run(data, folder / "plan", settings)
        device = choose_device(run.recipe.model.device)
        free = free_bytes(device)  # before the model is loaded, as when `tune` decides
        clock = Clock(run)
        yield from freeze(run, clock)
        setup = open_setup(run)
        trainable = attach(setup, load_base(setup, make_method(setup.recipe).quantization))
        cost = estimate_cost(setup, trainable)
        yield clock.stage("forecast", cost_message(cost))
        more = new_tokens_of(setup.recipe, setup.split.train, setup.facts, setup.tokenizer)
        yield DryRun(
            run.recipe, len(setup.split.train), tuple(_alternatives(setup, free)), cost, free_bytes(device), more
        )


def _alternatives(setup: Setup, free: int) -> list[Alternative]:
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
        for one in candidates(facts, len(setup.split.train), free, empty)
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
