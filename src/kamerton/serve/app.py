"""The application: its routes, and how errors are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kamerton.serve.abtest import AbTest
from kamerton.serve.classify import classify, decisions, embeddings, messages
from kamerton.serve.context import ServerContext
from kamerton.serve.guard import Guard
from kamerton.serve.metrics import log_failure
from kamerton.serve.models import ServedModel
from kamerton.serve.page import Page
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import OutcomeRequest
from kamerton.serve.write import chat, complete

Endpoint = Callable[[ServerContext, Request], Awaitable[Response]]


def make_app(context: ServerContext, page: Page, key: str, local: bool) -> Guard:
    """Return the application, guarded."""
    routes = [
        *(Route(path, partial(_call, post, context), methods=["POST"]) for path, post in POSTS.items()),
        *(Route(path, partial(_call, get, context), methods=["GET"]) for path, get in GETS.items()),
        *(Route(path, partial(_file, response), methods=["GET"]) for path, response in page.files.items()),
    ]
    handlers: Mapping[Any, Any] = {RefusalError: _refused, HTTPException: _unknown, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # a redirect would repeat what the client says in `Host`
    return Guard(app, key, local, frozenset(route.path for route in routes), context.metrics)


async def _call(endpoint: Endpoint, context: ServerContext, request: Request) -> Response:
    return await endpoint(context, request)


async def _file(response: Callable[[Request], Response], request: Request) -> Response:
    return response(request)


async def health(context: ServerContext, _: Request) -> Response:
    """`GET /health`: the process answers."""
    return JSONResponse({"status": "ok"})


async def ready(context: ServerContext, _: Request) -> Response:
    """`GET /ready`: the models are loaded, and new requests are taken."""
    taking = context.worker.alive
    return JSONResponse({"status": "ready" if taking else "stopping"}, 200 if taking else 503)


async def metrics(context: ServerContext, _: Request) -> Response:
    """`GET /metrics`, for Prometheus."""
    return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def models(context: ServerContext, _: Request) -> Response:
    """`GET /v1/models`: runs, the base below them, and the A/B test, with what each can be asked."""
    data = [_model(name, context.models[name]) for name in context.models]
    if context.ab:
        data.append({**_model(context.ab.name, context.models[context.ab.first]), "root": None})
    return JSONResponse({"object": "list", "data": data})


def _model(name: str, model: ServedModel) -> dict[str, object]:
    setup = model.predictor.setup
    can = {
        "chat/completions": model.chats,
        "completions": model.lane is not None,
        "classify": not model.is_base,
        "embeddings": model.embeds,
    }
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "kamerton",
        "root": None if model.is_base else setup.facts.name,
        "max_model_len": setup.max_tokens,
        "task": None if model.is_base else setup.recipe.data.task,
        "labels": [] if model.is_base else list(model.predictor.labels),
        "answers": None if model.is_base else setup.task.answers,
        "roles": [] if model.is_base else [role.name for role in setup.task.roles],
        "endpoints": [endpoint for endpoint, possible in can.items() if possible],
        "one_message": model.reads_rows,
    }


async def outcomes(context: ServerContext, request: Request) -> Response:
    """`POST /v1/outcomes`: how good an answer of the A/B test was; it is on the disk once this is answered."""
    body = await context.body(request, OutcomeRequest)
    return JSONResponse(await run_sync(_ab(context).record, body))


async def ab(context: ServerContext, _: Request) -> Response:
    """`GET /v1/ab`: what the outcomes show so far."""
    return JSONResponse(await run_sync(_ab(context).state))


def _ab(context: ServerContext) -> AbTest:
    if context.ab is None:
        raise RefusalError(404, "this server runs no A/B test: start it with --ab new=RUN,old=RUN")
    return context.ab


async def _refused(_: Request, refusal: RefusalError) -> Response:
    return refusal.response()


async def _unknown(_: Request, error: HTTPException) -> Response:
    rule = {404: "there is nothing at this path", 405: "this path takes another method"}.get(error.status_code, "")
    return RefusalError(error.status_code, rule or error.detail, headers=error.headers or {}).response()


async def _failed(_: Request, error: Exception) -> Response:
    log_failure(error)
    return RefusalError(500, "the server failed; its log says why").response()


POSTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": chat,
    "/v1/completions": complete,
    "/v1/classify": classify,
    "/v1/messages": messages,
    "/v1/embeddings": embeddings,
    "/v1/decisions": decisions,
    "/v1/outcomes": outcomes,
}
GETS: Mapping[str, Endpoint] = {
    "/health": health,
    "/ready": ready,
    "/metrics": metrics,
    "/v1/models": models,
    "/v1/ab": ab,
}
