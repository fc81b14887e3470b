"""Requests as they must be: unknown fields, and values that would be ignored, are refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from kamerton.core.records import Turn
from kamerton.serve.refusal import RefusalError

MOST_ROWS, MOST_CHOICES, MOST_STOPS, MOST_QUESTIONS = 512, 16, 8, 400
"""In one request; the last is that of OpenAI's decisions."""
LOGPROBS, TOP_LOGPROBS = 5, 20
"""The most probable tokens that are told, as OpenAI's API has them."""
READ_SECONDS = 20.0
"""For the whole body of a request to arrive."""
WORDS = {"missing": "this field is required", "extra_forbidden": "this server does not support this field"}
"""Our words for pydantic's kinds of errors."""
T = TypeVar("T", bound="Body")


def _listed(value: object) -> object:
    """Return one text or row as a list."""
    return value if isinstance(value, list) else [value]


def _prompts(value: object) -> object:
    """Return one text, one list of tokens, or a list of these, as a list."""
    tokens = isinstance(value, list) and value and all(isinstance(one, int) for one in value)
    return [value] if tokens or isinstance(value, str) else value


def _text(value: object) -> object:
    """Join the parts of a content if all are texts."""
    if not isinstance(value, list):
        return value
    parts = [part for part in value if isinstance(part, dict)]
    if len(parts) < len(value) or any(part.get("type") not in ("text", "input_text") for part in parts):
        raise ValueError("only parts of the type text are supported")
    if not all(isinstance(part.get("text"), str) and len(part) == 2 for part in parts):
        raise ValueError("a part of the type text has its text, and nothing else")
    return "".join(part["text"] for part in parts)


def _row(value: object) -> object:
    if isinstance(value, str | dict) and value:
        return value
    raise ValueError("an input is a text, or an object with the task's roles; it must not be empty")


Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, BeforeValidator(_text)]
Row = Annotated[Any, BeforeValidator(_row)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Stops = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=MOST_STOPS), BeforeValidator(_listed)
]


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ChatMessage(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text
    refusal: None = None

    @property
    def turn(self) -> Turn:
        """The turn as templates take it."""
        return Turn("system" if self.role == "developer" else self.role, self.content)


class StreamOptions(Body):
    """What a stream has besides."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class TextFormat(Body):
    """The only form of an answer."""

    type: Literal["text"]


class Sampling(Body):
    """How an answer is drawn; what is null is the run's own setting."""

    model: Name
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    user: str | None = Field(None, max_length=256)
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None


class ChatRequest(Sampling):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=TOP_LOGPROBS)
    response_format: TextFormat | None = None


class CompletionRequest(Sampling):
    """`POST /v1/completions`; prompts are texts or tokens."""

    prompt: Annotated[
        list[Annotated[str, Field(min_length=1)] | Tokens],
        Field(min_length=1, max_length=MOST_CHOICES),
        BeforeValidator(_prompts),
    ]
    logprobs: int | None = Field(None, ge=0, le=LOGPROBS)
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: None = None


class RowsRequest(Body):
    """`POST /v1/messages`: rows as `kamerton predict` takes them."""

    model: Name
    input: Annotated[list[Row], Field(min_length=1, max_length=MOST_ROWS), BeforeValidator(_listed)]


class ClassifyRequest(RowsRequest):
    """`POST /v1/classify`."""

    user: str | None = Field(None, max_length=256)


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`."""

    model: Name
    input: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=MOST_ROWS),
        BeforeValidator(_listed),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = Field(None, max_length=256)


class Option(Body):
    """One of the choices of a question."""

    value: str


class DecisionQuestion(Body):
    """A question about the input: which label it has, or whether it has one."""

    type: Literal["choice", "predicate"]
    instructions: str
    name: str | None = Field(None, max_length=256)
    choices: list[Option] | None = Field(None, min_length=2, max_length=255)


class UserText(Body):
    """A message of the user."""

    role: Literal["user"]
    content: Text
    type: Literal["message"] = "message"


class DecisionRequest(Body):
    """`POST /v1/decisions`, in the shape of OpenAI's client 3.57 (`types/decision_create_params.py`)."""

    model: Name
    input: Annotated[
        list[UserText],
        Field(min_length=1, max_length=1),
        BeforeValidator(lambda value: [{"role": "user", "content": value}] if isinstance(value, str) else value),
    ]
    questions: list[DecisionQuestion] = Field(min_length=1, max_length=MOST_QUESTIONS)
    safety_identifier: str | None = None


class OutcomeRequest(Body):
    """`POST /v1/outcomes`: how good the answer of an id was, or which arm a person preferred."""

    id: Name | None = None
    reward: Annotated[float, Field(ge=0, le=1)] | bool | None = None
    winner: Name | None = None


async def parse(request: Request, kind: type[T], most_bytes: int) -> T:
    """Read a request's body.

    Raises:
        RefusalError: it is no JSON, too large, too slow, or not what `kind` says; the field is named.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise RefusalError(415, "send JSON, with the header Content-Type: application/json")
    body = await _read(request, most_bytes)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


async def _read(request: Request, most: int) -> bytes:
    too_large = RefusalError(413, f"a request may have {most} bytes", headers={"Connection": "close"})
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise too_large
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise too_large
    except TimeoutError:
        rule = f"the request did not arrive within {READ_SECONDS:g} seconds"
        raise RefusalError(408, rule, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise RefusalError(400, "the client left before its request had arrived") from None
    return b"".join(parts)


def _refusal(error: ValidationError) -> RefusalError:
    """Return the refusal of the first wrong field; the error of an unknown one comes first."""
    faults = error.errors(include_url=False, include_input=False)
    fault: Mapping[str, Any] = min(faults, key=lambda one: one["type"] != "extra_forbidden")
    if fault["type"] == "json_invalid":
        return RefusalError(400, f"the body is no JSON: {fault['ctx']['error']}")
    # names of fields, and numbers of items; a union also names its members
    path = [part for part in fault["loc"] if isinstance(part, int) or part.isidentifier() or part == fault["loc"][0]]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")[:200]
    said = WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    return RefusalError(400, f"{field or 'body'}: {said}", field or None)
