"""Runs beside each other: their scores on the same rows, the differences of their recipes, their courses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kamerton.core.errors import Fault, KamertonError, RunError
from kamerton.core.messages import msg
from kamerton.core.outcomes import ComparedRuns
from kamerton.evaluate.compare import compare_as_first
from kamerton.report.charts import Overlay, overlay
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.runs.run import Run
from kamerton.studio.context import studio_of
from kamerton.studio.kept import Kept
from kamerton.studio.render import page

MOST = 6
"""Runs that a chart can show apart."""


@dataclass(frozen=True)
class Beside:
    """Runs beside each other."""

    compared: ComparedRuns | None
    """None where they cannot be compared."""
    faults: Sequence[Fault]
    """Why they cannot."""
    outcomes: Mapping[str, Outcome]
    """Of the finished ones, by path."""
    metric: str
    metrics: Sequence[str]
    """By which they can be compared."""
    courses: Overlay
    settings: Sequence[tuple[str, Sequence[object]]]
    """The settings in which they differ, with the value of each."""


COMPARED: Kept[Beside] = Kept(8)


async def compare(request: Request) -> Response:
    """`GET /compare?run=A&run=B`: several runs beside each other; `metric` names what they are compared by."""
    names, asked = dict.fromkeys(request.query_params.getlist("run")), request.query_params.get("metric", "")
    runs = [studio_of(request).workspace.run(name) for name in list(names)[: MOST + 1]]
    if not 2 <= len(runs) <= MOST:
        rule = msg("two to {most} runs can be compared at once, got {runs}", most=MOST, runs=len(names))
        raise RunError(Fault(rule, remedy=msg("choose them in the list of runs")))
    found = await run_sync(COMPARED.of, runs, partial(beside, runs, asked), asked)
    return await page(request, "compare.html.j2", {"runs": {str(run.path): run.path.name for run in runs}, "of": found})


def beside(runs: Sequence[Run], asked: str = "") -> Beside:
    """Read runs, and compare those that can be; one that has not ended shows its course and its recipe."""
    outcomes = {str(run.path): read_outcome(run) for run in runs if run.finished}
    shared = [set(outcome.metrics) for outcome in outcomes.values()]
    metrics = [name for outcome in outcomes.values() for name in outcome.metrics if all(name in one for one in shared)]
    metrics = list(dict.fromkeys(metrics))
    metric = asked if asked in metrics else next(iter(metrics), "")
    compared, faults = None, tuple[Fault, ...]()
    try:
        if unfinished := [run.path.name for run in runs if not run.finished]:
            rule = msg("runs are compared when all have a verdict; not yet: {runs}", runs=", ".join(unfinished))
            raise RunError(Fault(rule))
        if not metrics:
            raise RunError(Fault(msg("the runs have no metric in common")))
        compared = compare_as_first(runs, metric=metric)
    except KamertonError as error:
        faults = tuple(error.faults)
    courses = overlay({run.path.name: run.events() for run in runs}, metric)
    return Beside(compared, faults, outcomes, metric, metrics, courses, differing(runs))


def differing(runs: Sequence[Run]) -> list[tuple[str, Sequence[object]]]:
    """Return the settings in which the recipes of runs differ, with the value of each run."""
    recipes = [{setting.path: setting.value for setting in run.recipe.settings()} for run in runs]
    paths = dict.fromkeys(path for recipe in recipes for path in recipe)
    values = [(path, [recipe.get(path) for recipe in recipes]) for path in paths]
    return [(path, each) for path, each in values if any(one != each[0] for one in each)]


ROUTES: Sequence[Route] = (Route("/compare", compare),)
