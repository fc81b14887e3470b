"""`kamerton plan`: everything `tune` would decide, what it would not choose and why, and what it would cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kamerton import plugins
from kamerton.begin import new_run
from kamerton.contracts import Advice, ModelFacts
from kamerton.engines import load_base
from kamerton.forecast import Forecast, forecast
from kamerton.models.catalog import known
from kamerton.plan import make_method
from kamerton.prepare import Clock, Setup, freeze, open_setup
from kamerton.recipe import Recipe
from kamerton.records import Stage
from kamerton.system import free_memory
from kamerton.trainee import attach

ROOM = 0.9
"""Share of the free memory that a run may fill."""


@dataclass(frozen=True)
class Alternative:
    """What could be chosen instead, and what speaks for or against it."""

    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Foreseen:
    """A plan: the resolved recipe with its reasons, the alternatives, and the cost."""

    recipe: Recipe
    rows: int
    alternatives: tuple[Alternative, ...]
    forecast: Forecast
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Say whether the run fits into the memory that is free now."""
        return self.forecast.peak_bytes <= ROOM * self.free_bytes


def foresee(data: Path, settings: Mapping[str, object]) -> Iterator[Stage | Foreseen]:
    """Go the way of `tune` up to the first update, in a folder that is thrown away.

    Args:
        data: a data file, or a recipe that names one.
        settings: by dotted path.

    Yields:
        The stages as they are done, and at last the plan.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(data, Path(folder) / "plan", settings)
        clock = Clock(run)
        yield from freeze(run, clock)
        setup = open_setup(run)
        trainee = attach(setup, load_base(setup, make_method(setup.recipe).quantization))
        cost = forecast(setup, trainee)
        yield clock.stage("forecast", str(cost))
        yield Foreseen(run.recipe, len(setup.split.train), tuple(_alternatives(setup)), cost, free_memory())


def _alternatives(setup: Setup) -> list[Alternative]:
    """List the other known models and methods, the most suitable first."""
    facts, rows = setup.facts, len(setup.split.train)
    models = [
        Alternative("model.name", model.name, _against(model.kind, setup, model.description))
        for model in known()
        if model.name != facts.name
    ]
    ranked = sorted(_advice(facts, rows).items(), key=lambda item: -item[1].value)
    methods = [
        Alternative("method.name", word, advice.reason) for word, advice in ranked if word != setup.recipe.method.name
    ]
    return [*models, *methods]


def _advice(facts: ModelFacts, rows: int) -> dict[str, Advice]:
    return {word: plugins.choose("methods", word).suitability(facts, rows) for word in plugins.names("methods")}


def _against(kind: str, setup: Setup, description: str) -> str:
    if kind not in setup.task.kinds:
        return f"is of the kind {kind}, which this task cannot be put to"
    if kind != setup.facts.kind:
        return f"is of the kind {kind}; the usual kind for this task is {setup.task.kinds[0]}"
    return description
