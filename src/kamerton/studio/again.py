"""Remedies as runs to begin: the recipe of a run with a change that its verdict offers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.report.outcome import Outcome, read_outcome
from kamerton.runs.recipe import AUTO, Recipe, checked
from kamerton.runs.run import Run
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.render import form_of, language_of

Change = Mapping[str, object]
"""Settings by dotted path."""
MODEL, RATE, REMEDIES = "model.name", "train.learning_rate", "remedy.names"
OPEN = ("task.", "method.")
"""Groups whose settings plug-ins know."""


def offers(outcome: Outcome, findings: Sequence[Finding], recipe: Recipe) -> Mapping[str, Change]:
    """Return the changes that a run's diagnoses, findings and forgetting ask for, by a key that a form can hold.

    A run that judges a model from elsewhere trains nothing, and has none.
    """
    if recipe.model.is_finished:
        return {}
    found = [change for item in outcome.diagnosis for change in item.changes]
    found += [change for finding in findings for change in finding.changes]
    known = {setting.path for setting in recipe.settings()}
    fitting = [one for one in (*found, *against_forgetting(outcome, recipe)) if one and _fits(one, known)]
    return {key_of(change): change for change in fitting}


def against_forgetting(outcome: Outcome, recipe: Recipe) -> Sequence[Change]:
    """Return what is worth trying where the model forgot: the remedies, which are measured, and a lower rate."""
    if recipe.model.is_finished or outcome.forgetting.decision not in ("mild", "severe"):
        return ()
    rate = recipe.train.peak
    lower = [{RATE: float(f"{rate / 3:.2g}")}] if rate else []
    return ({REMEDIES: [AUTO]}, *lower)


def key_of(change: Change) -> str:
    """Return a key for a change, equal for equal ones."""
    return hashlib.sha256(json.dumps(change, sort_keys=True).encode()).hexdigest()[:16]


def recipe_with(recipe: Recipe, change: Change, run: str) -> Recipe:
    """Return the recipe of a run with a change; what was decided for another model is decided anew.

    Values are not given as flags are: they may name code of elsewhere, which only a person can allow.

    Raises:
        RecipeError: the change does not fit.
    """
    values = recipe.model_dump()
    decided = [path for path, why in recipe.reasons.items() if why.origin == "decided" and MODEL in change]
    for path in decided:
        _set(values, path, None)
        del values["reasons"][path]
    for path, value in change.items():
        _set(values, path, value)
        reason = msg("chosen from the verdict of {run}", run=run)
        values["reasons"][path] = {"origin": "flag", "reason": reason, "value": value}
    return checked(Recipe, values, "")


async def again(request: Request) -> Response:
    """`POST /runs/NAME/again`: begin a run with a change that the verdict of another one offers."""
    studio, name = studio_of(request), request.path_params["name"]
    chosen = (await form_of(request)).get("offer", [""])[0]
    new = await run_sync(begin, studio, studio.workspace.run(name), chosen)
    await run_sync(partial(studio.jobs.enqueue, new, language_of(request)))
    return RedirectResponse(f"/runs/{quote(new, safe='')}/live", 303)


def begin(studio: Studio, run: Run, key: str) -> str:
    """Create the run of an offer, and return its name.

    Raises:
        RunError: nothing of this key is offered.
    """
    recipe = run.recipe
    change = offers(read_outcome(run), run.read_findings(), recipe).get(key)
    if change is None:
        raise RunError(Fault(msg("this remedy is not offered any more"), remedy=msg("open the verdict again")))
    name = studio.workspace.free_name(run.path.name)
    Run.create(studio.workspace.runs / name, recipe_with(recipe, change, run.path.name))
    return name


def _fits(change: Change, known: set[str]) -> bool:
    return all(path in known or path.startswith(OPEN) for path in change)


def _set(values: dict[str, object], path: str, value: object) -> None:
    group, _, name = path.partition(".")
    fields = values[group]
    if isinstance(fields, dict):
        fields[name] = value


ROUTES: Sequence[Route] = (Route("/runs/{name}/again", again, methods=["POST"]),)
