"""The page for trying a run's model beside its base or another run, and for saying which answer is better."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
from anyio.to_thread import run_sync
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from kamerton.core.errors import Fault, KamertonError, RunError
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example
from kamerton.feedback.living import judge_log
from kamerton.i18n.voice import voice
from kamerton.report.content import classes
from kamerton.report.judging import log_lines
from kamerton.report.outcome import named, read_outcome
from kamerton.runs.logs import whole_lines
from kamerton.runs.run import MODEL, Run
from kamerton.serve.leaving import answered
from kamerton.serve.refusal import RefusalError
from kamerton.studio.context import Studio, studio_of
from kamerton.studio.ratings import FOLDER, PreferredAnswer, RatingFile, RightAnswer, Said, rating_files, record
from kamerton.studio.render import body_of, language_of, page, render
from kamerton.studio.serving import ServedChild, models_of, words_for
from kamerton.studio.uploads import Uploads, plain_name
from kamerton.studio.workspace import MissingError

ENDPOINTS = ("chat/completions", "completions", "classify", "messages")
"""What pages may ask a model."""
JSON = "application/json"


@dataclass(frozen=True)
class RecordedAnswer:
    """What a contender of the run answered to a test row."""

    name: str
    title: Wording
    kind: str
    text: str
    right: bool | None
    """None where answers are not simply right or wrong."""
    best_other: bool
    """Whether the verdict is about it."""


@dataclass(frozen=True)
class ShownRow:
    """A test row, its right answer, and all recorded ones."""

    example: Example
    answers: tuple[RecordedAnswer, ...]

    @property
    def other(self) -> RecordedAnswer | None:
        """The answer of the contender that the verdict is about."""
        return next((one for one in self.answers if one.best_other), None)


class SaidBeside(Said):
    """A judgment, and what the run's model stood beside."""

    beside: str
    """The name of a run, a base or a contender; empty if there was none."""
    preferred: PreferredAnswer | None = None
    right: RightAnswer | None = None


@dataclass(frozen=True)
class TryRequest:
    """What a request is about: a run, and perhaps another one beside it."""

    studio: Studio
    name: str
    folder: Path
    beside: str
    """The other run's name; empty for the base."""
    other: Path | None

    @staticmethod
    def of(request: Request) -> TryRequest:
        """Take it from the address.

        Raises:
            MissingError: there is no run of one of the names.
        """
        studio, name = studio_of(request), request.path_params["name"]
        beside = request.query_params.get("beside", "")
        other = studio.workspace.place(beside) if beside else None
        return TryRequest(studio, name, studio.workspace.place(name), beside, other)

    @property
    def words(self) -> tuple[str, ...]:
        """Which models are served."""
        return words_for(self.folder, self.other)

    async def child(self, request: Request) -> ServedChild:
        """Return the process that serves them. Raises `RunError` if it cannot, `RefusalError` if the client leaves."""
        work = asyncio.ensure_future(self.studio.models.ready(self.words, language_of(request)))
        return await answered(request, work)

    def own(self, page: str) -> str:
        """Return an address of the run's."""
        return f"/runs/{quote(self.name, safe='')}/{page}"

    def path(self, page: str, row: int | None = None) -> str:
        """Return an address that keeps what stands beside it, with a row if one is given."""
        query = {**({"beside": self.beside} if self.beside else {}), **({} if row is None else {"row": row})}
        return self.own(page) + (f"?{urlencode(query)}" if query else "")


async def show(request: Request) -> Response:
    """`GET /runs/NAME/try`: the page, with a test row if one is named."""
    trial = TryRequest.of(request)
    values = await run_sync(_shown, trial, request.query_params.get("row", ""))
    return await page(request, "try.html.j2", {**values, "trial": trial, "run": trial.studio.listing.one(trial.name)})


def _shown(trial: TryRequest, row: str) -> Mapping[str, object]:
    run, faults = Run(trial.folder), tuple[Fault, ...]()
    try:
        run.require_model()
    except KamertonError as error:
        faults = error.faults
    names = [name for name in trial.studio.workspace.names() if name != trial.name]
    return {
        "row": find_row(run, int(row)) if row.isdecimal() else None,
        "others": [name for name in names if (trial.studio.workspace.runs / name / MODEL).is_dir()],
        "faults": faults,
        "files": rating_files(trial.folder),
        "state": trial.studio.models.state(trial.words),
    }


def find_row(run: Run, id: int) -> ShownRow:
    """Return a test row with what every contender answered.

    Raises:
        MissingError: there is none of this id.
    """
    examples = run.read_split().test
    example = next((one for one in examples if one.id == id), None)
    if example is None:
        raise MissingError(Fault(msg("the run has no such test row")))
    labels, best = classes([one.gold for one in examples]), read_outcome(run).verdict.against
    found = [_recorded(example, answers, bool(labels), best) for answers in run.read_answers()]
    return ShownRow(example, tuple(one for one in found if one))


def _recorded(example: Example, answers: Answers, in_classes: bool, best: str) -> RecordedAnswer | None:
    text = next((one.text for one in answers.predictions if one.id == example.id), None)
    if text is None:
        return None
    right = text.strip() == example.gold.strip()
    title = answers.title or named(answers.name)
    return RecordedAnswer(answers.name, title, answers.kind, text, right if in_classes else None, answers.name == best)


async def surprise(request: Request) -> Response:
    """`GET /runs/NAME/try/surprise`: to a test row that was drawn at random."""
    trial = TryRequest.of(request)
    rows = await run_sync(lambda: [example.id for example in Run(trial.folder).read_split().test])
    return RedirectResponse(trial.path("try", random.choice(rows)), 303)


async def load(request: Request) -> Response:
    """`POST /runs/NAME/try/load`: load the models, and tell what they can be asked."""
    trial = TryRequest.of(request)
    await body_of(request)
    try:
        child = await trial.child(request)
        return JSONResponse(await models_of(child))
    except RefusalError as refusal:
        return refusal.response()
    except httpx2.HTTPError:
        raise _gone() from None


async def ask(request: Request) -> Response:
    """`POST /runs/NAME/v1/…`: what a model answers, as it comes. A page that is left stops the answer."""
    trial, path = TryRequest.of(request), request.path_params["path"]
    if path not in ENDPOINTS:
        raise HTTPException(404)
    body = await body_of(request)
    try:
        child = await trial.child(request)
        assert child.client
        asked = child.client.build_request("POST", f"/v1/{path}", content=body, headers={"Content-Type": JSON})
        answer = await answered(request, asyncio.ensure_future(child.client.send(asked, stream=True)))
    except RefusalError as refusal:
        return refusal.response()
    except httpx2.HTTPError:
        raise _gone() from None
    return StreamingResponse(_parts(child, answer), answer.status_code, media_type=answer.headers.get("content-type"))


async def _parts(child: ServedChild, answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Pass an answer on; when nobody waits for it any more, the connection is closed, and the child stops."""
    async with child.in_use():
        try:
            async for part in answer.aiter_raw():
                yield part
        finally:
            await answer.aclose()


def _gone() -> RunError:
    return RunError(Fault(msg("the models' process has ended"), remedy=msg("ask again: it is started anew")))


async def say(request: Request) -> Response:
    """`POST /runs/NAME/ratings`: note which answer is better, or right."""
    trial = TryRequest.of(request)
    try:
        said = SaidBeside.model_validate_json(await body_of(request))
    except ValidationError:
        raise HTTPException(400) from None
    judgment = said.preferred or said.right
    if judgment is None:
        raise HTTPException(400)
    kept = await run_sync(record, trial.folder, trial.name, said.beside, judgment)
    language = language_of(request)
    told = msg("kept in {file}: {lines} {lines:judgment|judgments}", file=kept.name, lines=kept.lines)
    files = await run_sync(rating_files, trial.folder)
    html = await run_sync(render, language, "ratings.html.j2", {"trial": trial, "files": files})
    return JSONResponse({"told": voice(language).render(told), "html": html})


async def file(request: Request) -> Response:
    """`GET /runs/NAME/ratings/FILE`: download a file of ratings."""
    found = _file(request)
    return FileResponse(
        found.path, media_type="application/jsonl", filename=f"{TryRequest.of(request).name}-{found.name}"
    )


async def result(request: Request) -> Response:
    """`GET /runs/NAME/ratings/FILE/result`: which model the ratings show to be better, valid at every look."""
    found, trial = _file(request), TryRequest.of(request)
    settings = Run(trial.folder).recipe.evaluate
    verdict = await run_sync(
        partial(judge_log, found.path, first=trial.name, margin=settings.margin, confidence=settings.confidence)
    )
    lines = [*log_lines(verdict, settings.confidence, settings.margin)]
    values = {"first": verdict.first, "second": verdict.second, "lines": lines, "back": trial.own("try")}
    return await page(request, "judged.html.j2", values)


async def use(request: Request) -> Response:
    """`POST /runs/NAME/ratings/FILE`: prepare a run that learns from a file of ratings."""
    found, uploads = _file(request), Uploads(studio_of(request).workspace.folder)
    name = plain_name(f"{request.path_params['name']}-{found.name}")
    id = await run_sync(lambda: uploads.write(name, whole_lines(found.path).decode()))
    return RedirectResponse(f"/new/{id}", 303)


def _file(request: Request) -> RatingFile:
    for one in rating_files(TryRequest.of(request).folder):
        if one.name == request.path_params["file"]:
            return one
    raise HTTPException(404)


ROUTES: Sequence[Route] = (
    Route("/runs/{name}/try", show),
    Route("/runs/{name}/try/surprise", surprise),
    Route("/runs/{name}/try/load", load, methods=["POST"]),
    Route("/runs/{name}/v1/{path:path}", ask, methods=["POST"]),
    Route(f"/runs/{{name}}/{FOLDER}", say, methods=["POST"]),
    Route(f"/runs/{{name}}/{FOLDER}/{{file}}", file),
    Route(f"/runs/{{name}}/{FOLDER}/{{file}}", use, methods=["POST"]),
    Route(f"/runs/{{name}}/{FOLDER}/{{file}}/result", result),
)
