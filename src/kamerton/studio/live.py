"""A run under way: its page, and the stream that keeps the page up to date.

Everything is read from the run's folder, so it does not matter who began the run, nor how often the studio was ended
meanwhile. What the page shows is rendered here; the stream sends the parts that have changed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from anyio import sleep
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kamerton.core.errors import KamertonError
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Finding, SampleAnswer, Validated
from kamerton.i18n.language import Language
from kamerton.report.charts import SMOOTHING, View, curves
from kamerton.report.terms import metric_terms
from kamerton.runs.finishing import REQUEST, ask_to_finish, requested_epoch
from kamerton.runs.run import AUDIT, LOG, RECIPE, RESULT, STATE, Run
from kamerton.runs.underway import PARTS, TRAINING, UNDERWAY, Underway, read_underway
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.listing import STATES
from kamerton.studio.render import BEAT, language_of, last_event, page, pages, stream

LOOK = 0.1
"""Seconds between two looks at the files of a run: five calls of `stat`."""
SHARE, LONGEST_REST = 0.1, 0.25
"""Most of a core that drawing may take, for a training may need it, and most seconds that it rests for that."""
LOG_BYTES, LOG_LINES = 16_384, 60
SHOWN_FINDINGS = 12
BLOCKS = ("state", "stages", "figures", "charts", "samples", "findings", "log")
"""The parts of the page that the stream sends, by the ids of their elements."""
SMOOTHINGS: Mapping[str, tuple[Wording, float]] = {
    "light": (msg("light"), SMOOTHING),
    "strong": (msg("strong"), 4 * SMOOTHING),
    "none": (msg("none"), 0.0),
}
ZOOMS: Mapping[str, tuple[Wording, float]] = {
    "all": (msg("all steps"), 1.0),
    "half": (msg("last half"), 0.5),
    "tenth": (msg("last tenth"), 0.1),
}
AXES: Mapping[str, tuple[Wording, Literal["linear", "log"]]] = {
    "linear": (msg("linear"), "linear"),
    "log": (msg("logarithmic"), "log"),
}
"""What can be chosen about the charts: what it is called, and its value."""


@dataclass(frozen=True)
class ChartWish:
    """How a reader wants the charts to be drawn."""

    smoothing: str = "light"
    zoom: str = "all"
    axis: str = "linear"

    @staticmethod
    def of(request: Request) -> ChartWish:
        """Take it from the address; what is not known is as usual."""
        asked = request.query_params
        known = {"smoothing": SMOOTHINGS, "zoom": ZOOMS, "axis": AXES}
        return ChartWish(**{name: asked[name] for name, choices in known.items() if asked.get(name, "") in choices})

    @property
    def view(self) -> View:
        """What the charts are told."""
        return View(SMOOTHINGS[self.smoothing][1], ZOOMS[self.zoom][1], AXES[self.axis][1])

    @property
    def query(self) -> str:
        """The part of an address that says it."""
        return urlencode({"smoothing": self.smoothing, "zoom": self.zoom, "axis": self.axis})


@dataclass(frozen=True)
class ShownRecipe:
    """What a run's recipe says that the page shows."""

    metric: str
    trains: bool


@dataclass(frozen=True)
class Answered:
    """An answer that stayed the same over some validations."""

    first: int
    last: int
    answer: str
    probability: float
    """At the last of them."""


@dataclass(frozen=True)
class SampledRow:
    """A validation row, and how the model answered it, the present answer first."""

    row: SampleAnswer
    answers: Sequence[Answered]


# ── what is shown ─────────────────────────────────────────────────────────────────────────────


def shown(studio: Studio, name: str, wish: ChartWish) -> dict[str, object]:
    """Collect what the parts of the page show."""
    run = studio.workspace.run(name)
    course, underway, state = (
        studio.courses.of(run.path),
        read_underway(run.path) or Underway(),
        studio.jobs.state(name),
    )
    plan = _plan(run.path, _stamp(run.path / RECIPE))
    with course.lock:
        course.catch_up()
        metric = plan.metric or next((name for one in course.validations for name in one.metrics), "")
        drawn = curves(course.updates, course.validations, metric, course.step, wish.view) if course.step else None
        known = run.state
        return {
            "name": name,
            "run": studio.listing.one(name),
            "base": f"/runs/{quote(name)}",
            "state": state,
            "states": STATES,
            "place": _place(studio, name),
            "finished": run.finished,
            "parts": [one for one in PARTS if plan.trains or one != TRAINING],
            "underway": underway,
            "since": time.strftime("%H:%M:%S", time.localtime(underway.since)),
            "elapsed": max(0.0, time.time() - underway.since) if underway.since and state == "running" else None,
            "seconds": known.seconds,
            "asked": requested_epoch(run.path),
            "may_finish": state == "running" and bool(course.started) and not course.stopped,
            "course": course,
            "tokens_per_second": course.tokens_per_second,
            "seconds_left": course.seconds_left if state == "running" else None,
            "metric": metric,
            "metric_terms": metric_terms([metric]),
            "curves": drawn,
            "best": next((one for one in reversed(course.validations) if one.best), None),
            "peak": known.peak_bytes,
            "forecast": known.forecast,
            "samples": sampled_rows(course.validations),
            "findings": _findings(run, _stamp(run.path / AUDIT))[:SHOWN_FINDINGS],
            "log": tail(studio.jobs.log(name)),
        }


def _place(studio: Studio, name: str) -> int | None:
    """Return the place of a run in the queue, from 1; None if it does not wait."""
    waiting = studio.jobs.waiting()
    return waiting.index(name) + 1 if name in waiting else None


@lru_cache(64)
def _plan(folder: Path, _stamp: object) -> ShownRecipe:
    recipe = Run(folder).recipe
    return ShownRecipe(recipe.evaluate.metric or "", not recipe.model.is_finished)


def _findings(run: Run, stamp: object) -> Sequence[Finding]:
    return _read_findings(run.path, stamp) if run.has_split else ()


@lru_cache(64)
def _read_findings(folder: Path, _stamp: object) -> Sequence[Finding]:
    return Run(folder).read_findings()


def sampled_rows(validations: Sequence[Validated]) -> list[SampledRow]:
    """Return how the answers to the rows that validations show have changed; answers that stayed are one."""
    rows: dict[int, tuple[SampleAnswer, list[Answered]]] = {}
    for validation in validations:
        for sample in validation.samples:
            _, answers = rows.setdefault(sample.id, (sample, []))
            same = answers and answers[-1].answer == sample.answer
            first = answers.pop().first if same else validation.step
            answers.append(Answered(first, validation.step, sample.answer, sample.probability))
    return [SampledRow(row, answers[::-1]) for row, answers in rows.values()]


def tail(log: Path) -> str:
    """Return the last lines of what a training printed; empty if there is no such file."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join((lines if size <= LOG_BYTES else lines[1:])[-LOG_LINES:])


# ── the stream ────────────────────────────────────────────────────────────────────────────────


def signature(studio: Studio, name: str) -> str:
    """Return what changes when the page may show something else: cheap, for it is asked for often."""
    folder = studio.workspace.runs / name
    files = (*(folder / one for one in (LOG, UNDERWAY, STATE, RESULT, REQUEST)), studio.jobs.log(name))
    return "-".join([*map(_stamp, files), studio.jobs.state(name), str(_place(studio, name))])


def _stamp(file: Path) -> str:
    try:
        about = file.stat()
    except FileNotFoundError:
        return ""
    return f"{about.st_mtime_ns:x}.{about.st_size:x}.{about.st_ino:x}"


def fragments(language: Language, values: Mapping[str, object]) -> dict[str, str]:
    """Render the parts of the page."""
    own, frame = (pages(language).get_template(name) for name in ("live.html.j2", "run_layout.html.j2"))
    blocks = {"lead": frame.blocks["lead"], **{name: own.blocks[name] for name in BLOCKS}}
    return {name: "".join(block(own.new_context(dict(values)))) for name, block in blocks.items()}


async def changes(
    look: Callable[[], str], make: Callable[[], Mapping[str, str]], after: str, is_over: Callable[[], bool]
) -> AsyncIterator[Mapping[str, object] | None]:
    """Yield the parts of a page that have changed, until it is over; None as a sign of life.

    Args:
        look: returns what changes when a part may have changed.
        make: returns all parts by their ids; called in a thread, seldom enough that it takes little of a core.
        after: what `look` returned when the page was rendered, or was sent its last part.
        is_over: whether the server ends.
    """
    seen, sent, rest, silent = after, dict[str, str](), 0.0, 0.0
    while not is_over():
        now = await run_sync(look)
        if now != seen and rest <= 0:
            began = time.monotonic()
            parts = await run_sync(make)
            rest = min((time.monotonic() - began) / SHARE, LONGEST_REST)
            changed = [(id, html) for id, html in parts.items() if sent.get(id) != html]
            for id, html in changed:
                silent = 0.0
                yield {"id": id, "html": html, **({"event": now} if id == changed[-1][0] else {})}
            seen, sent = now, dict(parts)
        elif silent >= BEAT:
            silent = 0.0
            yield None
        await sleep(LOOK)
        rest, silent = rest - LOOK, silent + LOOK


# ── the routes ────────────────────────────────────────────────────────────────────────────────


async def live(request: Request) -> Response:
    """`GET /runs/NAME/live`: the page as it is now."""
    studio, name, wish = studio_of(request), request.path_params["name"], ChartWish.of(request)
    studio.workspace.place(name)
    after = await run_sync(signature, studio, name)
    values = await run_sync(shown, studio, name, wish)
    choices = {"smoothing": SMOOTHINGS, "zoom": ZOOMS, "axis": AXES}
    about = {"wish": wish, "choices": choices, "after": after}
    return await page(request, "live.html.j2", {**values, **about})


async def follow(request: Request) -> Response:
    """`GET /runs/NAME/stream`: the parts of the page as they change, and where it leads when there is a verdict."""
    studio, name, wish = studio_of(request), request.path_params["name"], ChartWish.of(request)
    language = language_of(request)
    was_finished = request.query_params.get("finished") == "1"

    async def events() -> AsyncIterator[Mapping[str, object] | None]:
        def look() -> str:
            second = int(time.time()) if studio.jobs.state(name) == "running" else ""
            return f"{signature(studio, name)}-{second}"

        def make() -> Mapping[str, str]:
            return fragments(language, shown(studio, name, wish))

        try:
            run = await run_sync(studio.workspace.run, name)  # it may be deleted before its page follows it
            async for change in changes(look, make, last_event(request), lambda: studio.stopping):
                yield change
                if run.finished and not was_finished:
                    yield {"go": f"/runs/{quote(name)}/verdict"}
                    return
        except (KamertonError, FileNotFoundError):  # it was deleted, or damaged: its page says what
            there = name in await run_sync(studio.workspace.names)
            yield {"go": f"/runs/{quote(name)}/live" if there else "/"}

    return stream(events())


async def finish(request: Request) -> Response:
    """`POST /runs/NAME/finish-epoch`: end training after the present epoch, and go on to the verdict."""
    name = request.path_params["name"]
    await run_sync(ask_to_finish, studio_of(request).workspace.run(name))
    return _back(name)


async def stop(request: Request) -> Response:
    """`POST /runs/NAME/stop`: stop a run as Ctrl-C does, or take it from the queue."""
    name = request.path_params["name"]
    await run_sync(studio_of(request).jobs.stop, name)
    return _back(name)


async def start(request: Request) -> Response:
    """`POST /runs/NAME/start`: let a run go on from where it stands."""
    name = request.path_params["name"]
    await run_sync(studio_of(request).jobs.enqueue, name, language_of(request))
    return _back(name)


def _back(name: str) -> Response:
    return RedirectResponse(f"/runs/{quote(name)}/live", 303)


ROUTES: Sequence[Route] = (
    Route("/runs/{name}/live", live),
    Route("/runs/{name}/stream", follow),
    Route("/runs/{name}/finish-epoch", finish, methods=["POST"]),
    Route("/runs/{name}/stop", stop, methods=["POST"]),
    Route("/runs/{name}/start", start, methods=["POST"]),
)
