"""The verdict of a run: what its report says, and its test rows one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kamerton.report.html import read_content
from kamerton.report.outcome import read_outcome
from kamerton.runs.columns import RunTables
from kamerton.runs.run import Run
from kamerton.studio.again import Change, against_forgetting, key_of, offers
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.kept import Kept
from kamerton.studio.render import page
from kamerton.studio.rows import Asked, RowTable


@dataclass(frozen=True)
class JudgedRun:
    """What the page shows of a finished run."""

    content: Mapping[str, Any]
    rows: RowTable | None
    """None where the answers of the tuned model and of another contender are not known."""
    offers: Mapping[str, Change]
    """Changes that make its remedies another run, by key."""
    against_forgetting: Sequence[Change]


def judged(run: Run) -> JudgedRun:
    """Read a finished run.

    Raises:
        RunError: it is not finished, or damaged.
    """
    outcome, tables = read_outcome(run), RunTables(run)
    content = read_content(run, outcome, tables)
    recipe, possible = content["recipe"], RowTable.possible(tables)
    table = RowTable(tables, outcome, recipe.evaluate.confidence, recipe.seed) if possible else None
    tables.drop_parts()
    offered = offers(outcome, content["findings"], recipe)
    return JudgedRun(content, table, offered, against_forgetting(outcome, recipe))


JUDGED: Kept[JudgedRun] = Kept(3)


async def show(request: Request) -> Response:
    """`GET /runs/NAME/verdict`: the verdict; the query filters the rows."""
    studio, name = studio_of(request), request.path_params["name"]
    run = studio.workspace.run(name)
    if not run.finished:
        return RedirectResponse(f"/runs/{quote(name, safe='')}/live", 303)
    values = await run_sync(shown, studio, run, Asked.of(request.query_params))
    return await page(request, "verdict.html.j2", values)


def shown(studio: Studio, run: Run, asked: Asked) -> dict[str, object]:
    """Return what the template shows of a finished run."""
    found = JUDGED.of([run], partial(judged, run))
    view = found.rows.view(asked) if found.rows else None
    return {
        "run": studio.listing.one(run.path.name),
        "page": found.content,
        "meanings": {setting.path: meaning for setting, meaning in found.content["settings"]},
        "table": found.rows,
        "view": view,
        "offers": found.offers,
        "key_of": key_of,
        "against_forgetting": found.against_forgetting,
    }


ROUTES: Sequence[Route] = (Route("/runs/{name}/verdict", show),)
