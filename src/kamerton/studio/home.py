"""The list of runs, their notes and tags, and the bin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.messages import Wording, msg
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.listing import STATES, Notes, Summary
from kamerton.studio.render import changing, compile_pages, form_of, language_of, page, render, stream

ORDERS: Mapping[str, tuple[Wording, Callable[[Summary], Any]]] = {
    "changed": (msg("newest first"), lambda one: -one.changed),
    "name": (msg("by name"), lambda one: one.name.casefold()),
    "score": (msg("best score first"), lambda one: -one.score.value if one.score else 1.0),
    "size": (msg("largest first"), lambda one: -one.size),
}
"""How the list can be sorted: what it is called, and the key."""
LIVE_SECONDS = 1.0


@dataclass(frozen=True)
class Wish:
    """What a reader wants to see of the list."""

    words: str = ""
    tag: str = ""
    order: str = "changed"

    @staticmethod
    def of(request: Request) -> Wish:
        """Take it from the address."""
        asked = request.query_params
        order = asked.get("order", "")
        return Wish(asked.get("q", "").strip(), asked.get("tag", ""), order if order in ORDERS else "changed")

    def take(self, runs: Sequence[Summary]) -> list[Summary]:
        """Return the runs that are wanted, in order."""
        words = self.words.casefold().split()
        found = [one for one in runs if self._has(one, words) and (not self.tag or self.tag in one.notes.tags)]
        return sorted(found, key=ORDERS[self.order][1])

    @staticmethod
    def _has(one: Summary, words: Sequence[str]) -> bool:
        text = " ".join((one.name, one.task, one.model, one.method, one.decision, one.notes.note, *one.notes.tags))
        return all(word in text.casefold() for word in words)


def _shown(studio: Studio, wish: Wish) -> dict[str, object]:
    runs = studio.listing.all()
    return {
        "runs": wish.take(runs),
        "all": len(runs),
        "bytes": sum(one.size for one in runs),
        "states": STATES,
        "tags": sorted({tag for one in runs for tag in one.notes.tags}),
    }


async def home(request: Request) -> Response:
    """`GET /`: all runs."""
    studio, wish = studio_of(request), Wish.of(request)
    values = await run_sync(_shown, studio, wish)
    orders = {word: title for word, (title, _) in ORDERS.items()}
    shown = await page(request, "home.html.j2", {**values, "wish": wish, "orders": orders})
    shown.background = BackgroundTask(compile_pages, language_of(request))  # while the reader looks at the list
    return shown


async def live(request: Request) -> Response:
    """`GET /stream`: the list as it changes."""
    studio, wish, language = studio_of(request), Wish.of(request), language_of(request)

    def make() -> dict[str, str]:
        return {"runs": render(language, "runs.html.j2", _shown(studio, wish))}

    return stream(changing(make, request, LIVE_SECONDS, studio.listing.signature))


async def notes(request: Request) -> Response:
    """`POST /runs/NAME/notes`: write the note and the tags of a run."""
    form, name = await form_of(request), request.path_params["name"]
    folder = studio_of(request).workspace.place(name)
    note, tags = (form.get(key, [""])[0] for key in ("note", "tags"))
    await run_sync(Notes(note.replace("\r\n", "\n"), tuple(tags.split(","))).write, folder)
    return RedirectResponse(f"/runs/{quote(name)}", 303)


async def delete(request: Request) -> Response:
    """`POST /runs/NAME/delete`: move a run to the bin."""
    await run_sync(studio_of(request).workspace.delete, request.path_params["name"])
    return RedirectResponse("/bin", 303)


async def show_bin(request: Request) -> Response:
    """`GET /bin`: the deleted runs."""
    return await page(request, "bin.html.j2", {"binned": await run_sync(studio_of(request).workspace.binned)})


async def empty(request: Request) -> Response:
    """`POST /bin`: take a run back, or delete it for good."""
    form = await form_of(request)
    workspace = studio_of(request).workspace
    for field, act in (("restore", workspace.restore), ("erase", workspace.erase)):
        for key in form.get(field, []):
            await run_sync(partial(act, key))
            return RedirectResponse("/bin" if field == "erase" else "/", 303)
    raise HTTPException(400)


async def link(request: Request) -> Response:
    """`POST /link`: show a link that lets another browser in."""
    studio = studio_of(request)
    return await page(request, "link.html.j2", {"link": studio.session.new_link(studio.address)})


async def go(request: Request) -> Response:
    """`GET /runs/NAME`: to the verdict of a run, or to what happens with it."""
    name = request.path_params["name"]
    run = studio_of(request).workspace.run(name)
    return RedirectResponse(f"/runs/{quote(name)}/{'verdict' if run.finished else 'live'}", 303)


ROUTES: Sequence[Route] = (
    Route("/", home),
    Route("/stream", live),
    Route("/bin", show_bin),
    Route("/bin", empty, methods=["POST"]),
    Route("/link", link, methods=["POST"]),
    Route("/runs/{name}", go),
    Route("/runs/{name}/notes", notes, methods=["POST"]),
    Route("/runs/{name}/delete", delete, methods=["POST"]),
)
