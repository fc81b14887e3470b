"""Endpoints for classes, labels, tags and vectors: what `kamerton predict` answers, for many requests at once."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse

from kamerton.core.errors import DataError
from kamerton.core.records import Encoded, Example, Place, Prediction, Turn
from kamerton.forms.templates import RefusedError
from kamerton.serve.context import ServerContext
from kamerton.serve.models import ServedModel
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import ClassifyRequest, DecisionQuestion, DecisionRequest, EmbeddingRequest, RowsRequest
from kamerton.text.tags import read_list

LISTS = ("classes", "tags")
"""Kinds of answers that are JSON lists."""


def predict(model: ServedModel, rows: Sequence[Any]) -> list[Prediction]:
    """Answer rows as `kamerton predict` does. Raises `RefusalError` where a row cannot be used."""
    if model.is_base:
        raise RefusalError(400, "model: this is an untuned base; rows are answered by a run", "model")
    with _refusing():
        return model.predictor.answer(_examples(model, rows))


def _examples(model: ServedModel, rows: Sequence[Any]) -> list[Example]:
    return [model.predictor.example(at, Place("input", at + 1), row) for at, row in enumerate(rows)]


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn an error about a row into a refusal."""
    try:
        yield
    except (DataError, RefusedError) as error:
        raise RefusalError(400, f"input: {error.faults[0].rule}", "input") from None


async def classify(context: ServerContext, request: Request) -> JSONResponse:
    """`POST /v1/classify`: an answer for each row, in the shape of vLLM's endpoint of that name, and more."""
    body = await context.body(request, ClassifyRequest)
    model, assigned = context.model(request, body.model, body.user)
    _check_roles(model, body.input)
    predictions = await context.do(request, model, predict, body.input)
    context.metrics.rows.inc(len(predictions))
    return JSONResponse(
        {
            "id": assigned.id("classify") if assigned else f"classify-{uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": body.model,
            "labels": list(model.predictor.labels),
            "data": [_classified(model, at, one) for at, one in enumerate(predictions)],
        }
    )


def _check_roles(model: ServedModel, rows: Sequence[object]) -> None:
    known = {role.name for role in model.predictor.setup.task.roles}
    for at, row in enumerate(rows):
        if isinstance(row, Mapping) and (unknown := sorted(set(row) - known)):
            rule = f"input[{at}].{unknown[0][:60]}: this run's rows have {', '.join(sorted(known))}"
            raise RefusalError(400, rule, f"input[{at}].{unknown[0][:60]}")


def _classified(model: ServedModel, index: int, prediction: Prediction) -> dict[str, object]:
    """Return one answer: `label` is what `kamerton predict` prints."""
    chances = prediction.probabilities or prediction.each
    answer: dict[str, object] = {"index": index, "label": prediction.text, "score": prediction.score}
    if chances is not None:
        answer |= {"probs": list(chances), "num_classes": len(chances)}
    if model.predictor.setup.task.answers in LISTS:
        answer["list"] = read_list(prediction.text)
    return answer | ({"cut": prediction.cut} if prediction.cut else {})


async def messages(context: ServerContext, request: Request) -> JSONResponse:
    """`POST /v1/messages`: the conversation by which each row is put to a model; empty where it is put otherwise."""
    body = await context.body(request, RowsRequest)
    model, _ = context.model(request, body.model, None)
    _check_roles(model, body.input)
    conversations = await context.do(request, model, _put, body.input)
    data = [{"index": at, "messages": conversation} for at, conversation in enumerate(conversations)]
    return JSONResponse({"object": "list", "data": data, "model": body.model})


def _put(model: ServedModel, rows: Sequence[Any]) -> list[list[dict[str, str]]]:
    """Return the messages of rows, those before the last answer."""
    with _refusing():
        conversations = [_turns(model, row, example) for row, example in zip(rows, _examples(model, rows), strict=True)]
    return [[{"role": turn.role, "content": turn.content} for turn in turns] for turns in conversations]


def _turns(model: ServedModel, row: Any, example: Example) -> Sequence[Turn]:
    setup = model.predictor.setup
    if not model.chats:
        return ()
    if not model.reads_rows:
        return (setup.form.requests(example, ()) or [()])[-1]
    first = setup.task.roles[0].name
    if isinstance(row, Mapping) and any(value for role, value in row.items() if role != first):
        return ()  # a message is one text, and this row has more
    return [Turn("user", row[first] if isinstance(row, Mapping) else row)]


async def embeddings(context: ServerContext, request: Request) -> JSONResponse:
    """`POST /v1/embeddings`: the mean of an encoder's last hidden states, unit length."""
    body = await context.body(request, EmbeddingRequest)
    model, _ = context.model(request, body.model, body.user)
    if not model.embeds:
        raise RefusalError(400, "model: only encoders give embeddings", "model")
    results = await context.do(request, model, _embed, body.input)
    coded = body.encoding_format == "base64"
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if coded else vector.tolist(),
        }
        for at, (vector, _) in enumerate(results)
    ]
    tokens = sum(count for _, count in results)
    context.metrics.tokens.labels("prompt").inc(tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})


def _embed(model: ServedModel, texts: Sequence[str]) -> list[tuple[np.ndarray, int]]:
    """Return the vector of each text, and its tokens; long ones are cut, as in training."""
    setup = model.predictor.setup
    ids = setup.tokenizer(list(texts), truncation=True, max_length=setup.max_tokens, verbose=False)["input_ids"]
    items = [Encoded(tuple(one), (), ()) for one in ids]
    vectors = model.predictor.engine.embed(items)
    return [(vector, len(item.tokens)) for vector, item in zip(vectors, items, strict=True)]


async def decisions(context: ServerContext, request: Request) -> JSONResponse:
    """`POST /v1/decisions`: a run's labels as choices and predicates, with its fitted probabilities."""
    body = await context.body(request, DecisionRequest)
    model, _ = context.model(request, body.model, None)
    labels, exclusive = model.predictor.labels, model.predictor.setup.task.answers == "class"
    if not labels or model.predictor.setup.task.answers not in ("class", "classes"):
        raise RefusalError(400, "model: this run has no labels to decide between", "model")
    for at, question in enumerate(body.questions):
        _check_question(question, f"questions[{at}]", labels, exclusive)
    [prediction] = await context.do(request, model, predict, [body.input[0].content])
    chances = dict(zip(labels, prediction.probabilities or prediction.each or (), strict=True))
    [tokens] = await context.do(request, model, _count, [body.input[0].content])
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    answers = [_decided(question, chances) for question in body.questions]
    return JSONResponse({"answers": answers, "model": body.model, "usage": usage})


def _count(model: ServedModel, texts: Sequence[str]) -> list[int]:
    setup = model.predictor.setup
    ids = setup.tokenizer(list(texts), truncation=True, max_length=setup.max_tokens, verbose=False)["input_ids"]
    return [len(one) for one in ids]


def _check_question(question: DecisionQuestion, place: str, labels: Sequence[str], exclusive: bool) -> None:
    """Raise a RefusalError for what a tuned model does not decide: it reads no instructions and knows its labels."""
    known = f"known are {', '.join(labels)[:300]}"
    if question.type == "predicate":
        if question.choices is not None:
            raise RefusalError(400, f"{place}.choices: a predicate has none", f"{place}.choices")
        if question.instructions not in labels:
            rule = f"{place}.instructions: must be a label of this run; {known}"
            raise RefusalError(400, rule, f"{place}.instructions")
        return
    if not exclusive:
        raise RefusalError(
            400, f"{place}.type: this run gives several labels; ask a predicate of each", f"{place}.type"
        )
    if question.instructions:
        rule = f"{place}.instructions: must be empty: the run decides what it was tuned to decide"
        raise RefusalError(400, rule, f"{place}.instructions")
    values = [choice.value for choice in question.choices or ()]
    if not values or len(set(values)) < len(values) or not set(values) <= set(labels):
        raise RefusalError(400, f"{place}.choices: must be different labels of this run; {known}", f"{place}.choices")


def _decided(question: DecisionQuestion, chances: Mapping[str, float]) -> dict[str, object]:
    """Answer a question; among some of the labels, probabilities are conditional on these."""
    if question.type == "predicate":
        return {"type": "predicate", "name": question.name, "probability": chances[question.instructions]}
    values = [choice.value for choice in question.choices or ()]
    total = sum(chances[value] for value in values) or 1.0
    shares = [{"value": value, "probability": chances[value] / total} for value in values]
    best = max(values, key=lambda value: chances[value])
    return {
        "type": "choice",
        "name": question.name,
        "choice": best,
        "confidence": chances[best] / total,
        "probabilities": shares,
    }
