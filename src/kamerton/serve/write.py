"""Endpoints for written answers: OpenAI's chat completions and completions, whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from kamerton.core.errors import DataError
from kamerton.core.records import Place, Turn
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import frame_of, plain, tokenize, write_prompt
from kamerton.serve.abtest import Assigned
from kamerton.serve.context import ServerContext
from kamerton.serve.lane import Generation, Piece, Sampled, TokenScore
from kamerton.serve.models import ServedModel
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import MOST_CHOICES, ChatRequest, CompletionRequest, Sampling

UNTUNED_ROOM, COMPLETION_ROOM = 256, 16
"""Most tokens of an answer where neither the request nor the run says how many: of the base, and as OpenAI has it."""


@dataclass(frozen=True)
class AnswerHead:
    """What all parts of one answer have in common."""

    id: str
    object: str
    created: int
    model: str
    prompt_tokens: int
    usage_wanted: bool = False

    def head(self, object: str) -> dict[str, Any]:
        """Return the fields that each JSON object begins with."""
        return {"id": self.id, "object": object, "created": self.created, "model": self.model}

    def usage(self, tokens: int) -> dict[str, int]:
        """Return the counts of tokens."""
        whole = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens, "total_tokens": whole}


async def chat(context: ServerContext, request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    body = await context.body(request, ChatRequest)
    model, assigned = context.model(request, body.model, body.user)
    if not model.chats:
        rule = "model: this one does not answer conversations; classifiers and taggers are asked at /v1/classify"
        raise RefusalError(400, rule, "model")
    if body.top_logprobs is not None and not body.logprobs:
        raise RefusalError(400, "top_logprobs: needs logprobs: true", "top_logprobs")
    turns = tuple(message.turn for message in body.messages)
    room = body.max_completion_tokens or body.max_tokens
    prompts = await context.do(request, model, partial(_chat_prompts, room=_room(model, room)), [turns])
    sampled = _sampled(model, body, room, len(prompts[0]), (body.top_logprobs or 0) if body.logprobs else -1)
    return await _answer(context, request, body, (model, assigned), prompts, sampled, "chatcmpl")


async def complete(context: ServerContext, request: Request) -> Response:
    """`POST /v1/completions`: the text that follows a prompt, as it is."""
    body = await context.body(request, CompletionRequest)
    model, assigned = context.model(request, body.model, body.user)
    if len(body.prompt) * (body.n or 1) > MOST_CHOICES:
        raise RefusalError(400, f"n: prompts and choices together may give {MOST_CHOICES} answers", "n")
    work = partial(_plain_prompts, room=_room(model, body.max_tokens))
    prompts = await context.do(request, model, work, body.prompt)
    longest = max(map(len, prompts))
    sampled = _sampled(model, body, body.max_tokens, longest, -1 if body.logprobs is None else body.logprobs)
    return await _answer(context, request, body, (model, assigned), prompts, sampled, "cmpl")


def _room(model: ServedModel, wanted: int | None) -> int:
    """Return how many tokens an answer must have room for, at least."""
    own = model.predictor.engine.max_new_tokens if model.tuned_to_write and not model.is_base else 1
    return wanted or own


def _chat_prompts(model: ServedModel, chats: Sequence[Sequence[Turn]], room: int) -> list[tuple[int, ...]]:
    if model.reads_rows:
        return [_row(model, [turn.content for turn in turns], "messages", room) for turns in chats]
    tokenizer = model.predictor.setup.tokenizer
    try:
        ids = tokenize([write_prompt(turns, tokenizer) for turns in chats], tokenizer)
    except RefusedError as error:
        raise RefusalError(400, f"messages: {error.faults[0].rule}", "messages") from None
    return [_checked(model, one, "messages", room) for one in ids]


def _plain_prompts(model: ServedModel, prompts: Sequence[str | list[int]], room: int) -> list[tuple[int, ...]]:
    """Tokenize texts behind the tokens that the tokenizer begins one with, or as rows."""
    setup = model.predictor.setup
    begin, found = frame_of(setup.tokenizer).before, list[tuple[int, ...]]()
    for prompt in prompts:
        if isinstance(prompt, str) and model.reads_rows:
            found.append(_row(model, [prompt], "prompt", room))
        elif isinstance(prompt, str):
            [ids] = tokenize([plain(prompt, setup.tokenizer)], setup.tokenizer)
            found.append(_checked(model, (*begin, *ids), "prompt", room))
        elif max(prompt) >= setup.facts.vocabulary:
            raise RefusalError(400, f"prompt: tokens are below {setup.facts.vocabulary}", "prompt")
        else:
            found.append(_checked(model, prompt, "prompt", room))
    return found


def _row(model: ServedModel, texts: Sequence[str], field: str, room: int) -> tuple[int, ...]:
    """Tokenize a row as `kamerton predict` does; its text is the only one."""
    setup = model.predictor.setup
    if len(texts) > 1:
        raise RefusalError(400, f"{field}: this model answers one message, a row of its task; it has no memory", field)
    try:
        example = model.predictor.example(0, Place(field, 1), texts[0])
    except DataError as error:
        raise RefusalError(400, f"{field}: {error.faults[0].rule}", field) from None
    [prompt] = setup.form.prompts([example], setup.tokenizer, setup.max_tokens + 1)  # so that nothing is cut unseen
    return _checked(model, prompt.tokens, field, room)


def _checked(model: ServedModel, tokens: Sequence[int], field: str, room: int) -> tuple[int, ...]:
    if room > model.room_behind(len(tokens)):
        most = model.predictor.setup.max_tokens
        rule = f"{field}: {len(tokens)} tokens and an answer of {room} are more than the {most} that the model takes"
        raise RefusalError(400, rule, field, "context_length_exceeded")
    return tuple(tokens)


def _sampled(model: ServedModel, body: Sampling, wanted: int | None, prompt: int, logprobs: int) -> Sampled:
    """Return how an answer is drawn; what the request leaves open is as `kamerton predict` has it."""
    recipe, own = model.predictor.setup.recipe, model.tuned_to_write and not model.is_base
    usual = UNTUNED_ROOM if isinstance(body, ChatRequest) else COMPLETION_ROOM
    room = wanted or (model.predictor.engine.max_new_tokens if own else usual)
    return Sampled(
        room=min(room, model.room_behind(prompt)),
        temperature=recipe.evaluate.temperature if body.temperature is None else body.temperature,
        top_p=body.top_p or 1.0,
        seed=body.seed,
        stop=tuple(body.stop or ()),
        logprobs=logprobs,
    )


async def _answer(
    context: ServerContext,
    request: Request,
    body: Sampling,
    chosen: tuple[ServedModel, Assigned | None],
    prompts: Sequence[tuple[int, ...]],
    sampled: Sampled,
    prefix: str,
) -> Response:
    """Have `n` answers to each prompt written, and return them, or a stream of them."""
    (model, assigned), count = chosen, body.n or 1
    lane = model.lane
    if lane is None:
        raise RefusalError(400, "model: this one does not continue texts", "model")
    asked = [prompt for prompt in prompts for _ in range(count)]
    context.worker.require_room(len(asked))
    queue = asyncio.Queue[tuple[int, Piece | RefusalError]]()

    def tell(index: int, piece: Piece) -> None:
        context.worker.tell(partial(queue.put_nowait, (index, piece)))

    def fail(index: int, refusal: RefusalError) -> None:
        queue.put_nowait((index, refusal))

    generations = [
        Generation(
            lane, model.adapter, prompt, _with_seed(sampled, at), model.parse if prefix == "chatcmpl" else str,
            partial(tell, at), partial(fail, at), bool(body.stream),
        )
        for at, prompt in enumerate(asked)
    ]  # fmt: skip
    id = assigned.id(prefix) if assigned else f"{prefix}-{uuid4().hex}"
    tokens = sum(map(len, prompts))
    options = body.stream_options
    wanted = bool(options and options.include_usage)
    answer = AnswerHead(id, prefix, int(time.time()), body.model, tokens, wanted)
    context.metrics.tokens.labels("prompt").inc(tokens)
    context.note(request, {"prompt_tokens": tokens})
    context.worker.put(*generations)
    pieces = _pieces(queue, len(asked), context.limits.seconds, generations)
    if body.stream:
        events = _events(context, request, answer, pieces)
        # what fails before the first token is an error, not a stream
        first = await context.answered(request, asyncio.ensure_future(anext(events)))
        return StreamingResponse(_chained(first, events), media_type="text/event-stream")
    whole = asyncio.ensure_future(_collected(pieces, len(asked)))
    try:
        collected = await context.answered(request, whole)
    finally:
        for generation in generations:
            generation.cancelled = True
    done = sum(piece.tokens for piece in collected)
    context.note(request, {"completion_tokens": done})
    choices = [_choice(answer, at, piece) for at, piece in enumerate(collected)]
    kind = "chat.completion" if prefix == "chatcmpl" else "text_completion"
    return JSONResponse({**answer.head(kind), "choices": choices, "usage": answer.usage(done)})


def _with_seed(sampled: Sampled, at: int) -> Sampled:
    """Return how one of several answers is drawn: each by a seed of its own."""
    return sampled if sampled.seed is None else Sampled(**{**vars(sampled), "seed": sampled.seed + at})


async def _pieces(
    queue: asyncio.Queue[tuple[int, Piece | RefusalError]],
    count: int,
    seconds: float,
    generations: Sequence[Generation],
) -> AsyncGenerator[tuple[int, Piece]]:
    """Yield the pieces of all answers as they come; whoever stops listening stops the generation."""
    try:
        async with asyncio.timeout(seconds):
            while count:
                index, piece = await queue.get()
                if isinstance(piece, RefusalError):
                    raise piece
                yield index, piece
                count -= bool(piece.end)
    except TimeoutError:
        raise RefusalError(504, f"no whole answer within {seconds:g} seconds") from None
    finally:
        for generation in generations:
            generation.cancelled = True


async def _collected(pieces: AsyncIterator[tuple[int, Piece]], count: int) -> list[Piece]:
    texts, scores, last = [""] * count, [list[TokenScore]() for _ in range(count)], dict[int, Piece]()
    async for at, piece in pieces:
        texts[at] += piece.text
        scores[at] += piece.scores
        last[at] = piece
    return [Piece(texts[at], tuple(scores[at]), last[at].tokens, last[at].end) for at in range(count)]


async def _events(
    context: ServerContext, request: Request, answer: AnswerHead, pieces: AsyncGenerator[tuple[int, Piece]]
) -> AsyncGenerator[str]:
    """Yield the data of a stream's events: one for each piece, the usage if wanted, and the end."""
    begun, tokens = set[int](), dict[int, int]()
    kind = "chat.completion.chunk" if answer.object == "chatcmpl" else "text_completion"
    usage = {"usage": None} if answer.usage_wanted else {}
    async with aclosing(pieces):
        async for at, piece in pieces:
            tokens[at] = piece.tokens
            chat = answer.object == "chatcmpl"
            choice = _delta(answer, at, piece, at not in begun) if chat else _choice(answer, at, piece)
            begun.add(at)
            yield json.dumps({**answer.head(kind), "choices": [choice], **usage}, ensure_ascii=False)
    done = sum(tokens.values())
    context.note(request, {"completion_tokens": done})
    if answer.usage_wanted:
        yield json.dumps({**answer.head(kind), "choices": [], "usage": answer.usage(done)})
    yield "[DONE]"


async def _chained(first: str, rest: AsyncGenerator[str]) -> AsyncIterator[str]:
    """Yield the events as they are sent; a failure on the way is the last one."""
    async with aclosing(rest):
        try:
            yield f"data: {first}\n\n"
            async for event in rest:
                yield f"data: {event}\n\n"
        except RefusalError as refusal:
            yield f"data: {json.dumps(refusal.body)}\n\n"


def _delta(answer: AnswerHead, index: int, piece: Piece, first: bool) -> dict[str, Any]:
    role = {"role": "assistant"} if first else {}
    delta = {**role, "content": piece.text} if piece.text or first else {}
    return {
        "index": index,
        "delta": delta,
        "logprobs": _chat_logprobs(piece),
        "finish_reason": piece.end or None,
    }


def _choice(answer: AnswerHead, index: int, piece: Piece) -> dict[str, Any]:
    if answer.object == "cmpl":
        scores = _text_logprobs(piece)
        return {"index": index, "text": piece.text, "logprobs": scores, "finish_reason": piece.end or None}
    message = {"role": "assistant", "content": piece.text, "refusal": None}
    return {"index": index, "message": message, "logprobs": _chat_logprobs(piece), "finish_reason": piece.end}


def _chat_logprobs(piece: Piece) -> dict[str, Any] | None:
    if not piece.scores:
        return None

    def entry(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = [
        {**entry(one.text, one.logprob), "top_logprobs": [entry(*other) for other in one.top]} for one in piece.scores
    ]
    return {"content": content, "refusal": None}


def _text_logprobs(piece: Piece) -> dict[str, Any] | None:
    if not piece.scores:
        return None
    texts, offsets, at = [one.text for one in piece.scores], list[int](), 0
    for text in texts:
        offsets.append(at)
        at += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [one.logprob for one in piece.scores],
        "top_logprobs": [dict(one.top) for one in piece.scores],
        "text_offset": offsets,
    }
