"""From a file to a started run: send it, see what it was recognized as and what the audit found, choose, start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.errors import DataError, Fault, RunError
from kamerton.core.messages import Wording, msg
from kamerton.core.preparation import PreparationRequest
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.prepare import Prepared
from kamerton.studio.render import changing, form_of, language_of, page, render, stream
from kamerton.studio.settings_form import Given, fields_of, read_settings, words_of
from kamerton.studio.uploads import MOST_PASTED, pasted_name
from kamerton.studio.workspace import MissingError

STEPS: Mapping[str, Wording] = {
    "clean": msg("writing the cleaned copy"),
    "read": msg("reading the file"),
    "model": msg("opening the base model"),
    "audit": msg("auditing the rows"),
    "plan": msg("trying a few rows, to predict the time"),
}
PLANS: Mapping[str, tuple[Wording, Wording]] = {
    "quick": (
        msg("Quick look"),
        msg("One epoch over some of the rows: does everything work, can the task be learned at all? It proves little."),
    ),
    "balanced": (
        msg("Balanced"),
        msg("What `kamerton tune` decides by itself: the published settings for this model and so many rows."),
    ),
    "best": (
        msg("Best"),
        msg("Tries learning rates and remedies, and trains with several seeds: slower, but a more reliable verdict."),
    ),
}
"""What each choice is called, and why one would take it."""
CHOSEN = "balanced"
NO_FILE = Fault(msg("there is no such file here"), remedy=msg("send it again"))
PARTS = ("state", "recognized", "shown", "audit", "plans", "bar")
"""The elements of the page that change while the file is prepared."""


async def new(request: Request) -> Response:
    """`GET /new`: where a file or rows are given, and those that were given before."""
    files = await run_sync(studio_of(request).uploads.every)
    return await page(request, "new.html.j2", {"files": files})


async def send(request: Request) -> Response:
    """`POST /new/file?name=…`: take a file as the body; answer where the page about it is."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else None
    id = await studio_of(request).uploads.receive(request.query_params.get("name", ""), size, request.stream())
    return JSONResponse({"go": f"/new/{id}"})


async def paste(request: Request) -> Response:
    """`POST /new`: take rows that were pasted."""
    form = await form_of(request, MOST_PASTED)
    text = form.get("rows", [""])[0].replace("\r\n", "\n")
    id = await run_sync(studio_of(request).uploads.write, pasted_name(text), text)
    return RedirectResponse(f"/new/{id}", 303)


async def show(request: Request) -> Response:
    """`GET /new/ID`: what is known of a file so far; it begins to be prepared when this is first asked for."""
    studio, id = studio_of(request), request.path_params["id"]
    prepared = await run_sync(_prepared, studio, id)
    return await page(request, "prepared.html.j2", _values(studio, id, prepared))


def _prepared(studio: Studio, id: str) -> Prepared:
    """Return what is known of an upload, and begin to prepare it if nothing is."""
    found = studio.preparations.read(id) if studio.uploads.is_id(id) else None
    if found is None:
        if studio.uploads.path(id) is None:
            raise MissingError(NO_FILE)
        studio.preparations.begin(id, PreparationRequest(str(studio.uploads.place(id))))
        found = studio.preparations.read(id)
    if found is None:
        raise HTTPException(404)
    return found


def _values(studio: Studio, id: str, prepared: Prepared, given: Given | None = None) -> dict[str, Any]:
    """Return what the page shows."""
    path = studio.uploads.path(id)
    return {
        "id": id,
        "name": (path or Path(prepared.request.source)).name,  # the copy may not be there yet
        "prepared": prepared,
        "steps": STEPS,
        "plans": PLANS,
        "words": words_of(),
        "fields": fields_of(prepared.choices) if prepared.choices else (),
        "chosen": CHOSEN,
        "filled": {},
        "faults": given.faults if given else {},
        "parts": PARTS,
    }


async def follow(request: Request) -> Response:
    """`GET /new/ID/stream`: the parts of the page as they come."""
    studio, id, language = studio_of(request), request.path_params["id"], language_of(request)
    await run_sync(_prepared, studio, id)

    def make() -> dict[str, str]:
        values = _values(studio, id, _prepared(studio, id))
        return {part: render(language, f"prepared_{part}.html.j2", values) for part in PARTS}

    return stream(changing(make, request, signature=partial(studio.preparations.signature, id)))


async def read_anew(request: Request) -> Response:
    """`POST /new/ID/read`: prepare the file anew, as another task, with other columns, or because it was stopped."""
    studio, id = studio_of(request), request.path_params["id"]
    form = await form_of(request)
    await run_sync(_read_anew, studio, id, form)
    return RedirectResponse(f"/new/{id}", 303)


def _read_anew(studio: Studio, id: str, form: Mapping[str, Sequence[str]]) -> None:
    prepared = _prepared(studio, id)
    settings = _reading(form, prepared) if "task" in form else prepared.request.settings
    studio.preparations.stop(id)
    source = "" if studio.uploads.path(id) else prepared.request.source
    studio.preparations.begin(id, replace(prepared.request, settings=settings, source=source))


def _reading(form: Mapping[str, Sequence[str]], prepared: Prepared) -> dict[str, Any]:
    """Return the settings of how a file is to be read: its task, and its columns if it is the task that they are of."""
    task, found = form["task"][0], prepared.recognized
    chosen = {"data.task": task} if task in words_of()["data.task"] else {}
    named = {name.removeprefix("role."): values[0] for name, values in form.items() if name.startswith("role.")}
    columns = {role: column for role, column in named.items() if column}
    same = found is not None and task == found.task and columns != {r: c for r, c in found.roles.items() if c}
    return {**chosen, **({"data.columns": columns} if same and columns else {})}


async def cancel(request: Request) -> Response:
    """`POST /new/ID/cancel`: end the work on the file."""
    studio, id = studio_of(request), request.path_params["id"]
    await run_sync(_prepared, studio, id)
    await run_sync(studio.preparations.stop, id)
    return RedirectResponse(f"/new/{id}", 303)


async def clean(request: Request) -> Response:
    """`POST /new/ID/clean`: go on with a cleaned copy, without the rows that were ticked; the file stays as it is."""
    studio, form = studio_of(request), await form_of(request)
    rows = tuple(int(row) for row in form.get("row", []) if row.isdecimal())
    id = await run_sync(_clean, studio, request.path_params["id"], rows)
    return RedirectResponse(f"/new/{id}", 303)


def _clean(studio: Studio, id: str, rows: tuple[int, ...]) -> str:
    prepared, path, new = _prepared(studio, id), studio.uploads.path(id), studio.uploads.new_id()
    request = PreparationRequest(str(studio.uploads.place(new)), prepared.request.settings, str(path), rows)
    studio.preparations.begin(new, request)
    return new


async def delete(request: Request) -> Response:
    """`POST /new/ID/delete`: delete a file, and what is known of it; runs have copies of their rows."""
    await run_sync(_delete, studio_of(request), request.path_params["id"])
    return RedirectResponse("/new", 303)


def _delete(studio: Studio, id: str) -> None:
    path = studio.uploads.path(id)
    if path is None:
        raise MissingError(NO_FILE)
    for name in studio.workspace.names():
        run = studio.workspace.run(name)
        if not run.has_split and Path(run.recipe.data.path) == path:
            rule = msg("the run '{run}' has not read this file yet", run=name)
            raise RunError(Fault(rule, path.name, msg("delete the run first")))
    studio.preparations.forget(id)
    studio.uploads.delete(id)


async def start(request: Request) -> Response:
    """`POST /new/ID/start`: make the run that was chosen, and put it into the queue; else show what is wrong."""
    studio, id, form = studio_of(request), request.path_params["id"], await form_of(request)
    prepared = await run_sync(_prepared, studio, id)
    path = studio.uploads.path(id)
    if prepared.choices is None or path is None:
        raise DataError(Fault(msg("the file is not prepared yet"), remedy=msg("wait until the plans are there")))
    wanted = form.get("choice", [CHOSEN])[0]
    choice = next((one for one in prepared.choices.choices if one.name == wanted), prepared.choices.choices[0])
    others = {**prepared.request.settings, **choice.settings}
    given = await run_sync(read_settings, form, str(path), others, prepared.choices)
    if given.faults:
        filled = {name: values[0] for name, values in form.items()}
        values = {**_values(studio, id, prepared, given), "filled": filled, "chosen": choice.name}
        return await page(request, "prepared.html.j2", values, 422)
    name = await run_sync(_start, studio, path, {**others, **given.settings})
    await run_sync(studio.jobs.enqueue, name, language_of(request))
    return RedirectResponse(f"/runs/{quote(name)}", 303)


def _start(studio: Studio, path: Path, settings: Mapping[str, Any]) -> str:
    """Make a run as `kamerton tune FILE` does, and return its name."""
    name = studio.workspace.free_name(path.name.partition(".")[0] or "data")
    Run.create(studio.workspace.runs / name, resolve(None, {"data.path": str(path), **settings}))
    return name


ROUTES: Sequence[Route] = (
    Route("/new", new),
    Route("/new", paste, methods=["POST"]),
    Route("/new/file", send, methods=["POST"]),
    Route("/new/{id}", show),
    Route("/new/{id}/stream", follow),
    Route("/new/{id}/read", read_anew, methods=["POST"]),
    Route("/new/{id}/cancel", cancel, methods=["POST"]),
    Route("/new/{id}/clean", clean, methods=["POST"]),
    Route("/new/{id}/start", start, methods=["POST"]),
    Route("/new/{id}/delete", delete, methods=["POST"]),
)
