"""An OpenAI-compatible server as a contender: its answers are kept in the run, its tokens counted.

The server is a stranger. What is read of an answer, and until when, is limited; redirects are not followed. An answer
that cannot be used fails its row, which is counted. A refusal, or a server that is not there, stops the run, and a
resume asks only what is not answered yet.
"""

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from anyio import fail_after
from anyio.from_thread import start_blocking_portal
from httpx2 import AsyncClient, ConnectError, ConnectTimeout, InvalidURL, ProxyError, Response, Timeout, TransportError
from pydantic import AliasPath, BaseModel, Field, ValidationError

from kamerton.core.contracts import ChatRequests
from kamerton.core.errors import Fault, RunError
from kamerton.core.figures import Figure
from kamerton.core.files import own_lines
from kamerton.core.messages import Message, msg
from kamerton.core.records import BETWEEN, Example, ExampleSeq, Prediction, Turn
from kamerton.runs.logs import append_line, write_lines
from kamerton.runs.servers import LOCAL, Reply, Tokens, read_replies
from kamerton.runs.settings import PromptSettings

SECONDS = 120.0
"""Longest time to wait for a whole answer; for a connection, an eighth of it."""
MOST_BYTES, MOST_SIGNS, SHOWN = 4 * 2**20, 200_000, 300
"""Longest answer, longest text in one, and how much is shown of a refusal."""
PAUSES, MOST_PAUSE = (1.0, 2.0, 4.0), 60.0
"""Seconds before a busy server is asked the same again, and the most that it may ask for."""
FAILURES = 5
"""Rows in a row that are not answered before the run stops."""
SECRET = 8
"""Shortest key that is looked for in answers: servers that need no key are given words such as `none`."""
REFUSALS, BUSY = {401, 402, 403, 404, 405, 407}, {408, 425, 429, *range(500, 600)}
ABSENT = (ConnectError, ConnectTimeout, InvalidURL, ProxyError)
KEPT = msg(
    "start the server, or correct its address (up to and including /v1) and the name of its model; `kamerton resume` "
    "continues, answers so far are kept"
)


class Answer(BaseModel):
    """What is used of a chat completion."""

    text: str = Field(
        validation_alias=AliasPath("choices", 0, "message", "content"), max_length=MOST_SIGNS, pattern=r"^[^\x00]*$"
    )
    usage: dict[str, Any] | None = None
    tokens_in: Tokens | None = Field(None, validation_alias=AliasPath("usage", "prompt_tokens"))
    tokens_out: Tokens | None = Field(None, validation_alias=AliasPath("usage", "completion_tokens"))


class Failure(NamedTuple):
    """Why a question has no answer."""

    reason: Message
    absent: bool = False
    """Whether the server may be gone or busy."""
    again: float | None = None
    """The least seconds until the same can be asked again; None: that is of no use."""
    remedy: Message | None = None
    """What to do, where no other question will be answered."""


Send = Callable[[bytes], tuple[Response, bytes]]


@dataclass
class Endpoint:
    """A server with the answers it has given."""

    settings: PromptSettings
    file: Path
    """JSON Lines of its answers."""
    max_new_tokens: int
    key: str = field(default="", repr=False)
    mode: int = 0o600
    """Permissions of the file."""
    at: str = ""
    """Its address, where that is not the setting but a process that serves a file."""
    deadline: float = SECONDS
    sleep: Callable[[float], None] = time.sleep
    _known: dict[str, Reply] = field(default_factory=dict)
    _failures: list[Message] = field(default_factory=list)
    _in_a_row: int = 0

    def __post_init__(self) -> None:
        self._place = f"{self.at or self.settings.against}/chat/completions"
        if replies := read_replies(self.file):
            write_lines(self.file, map(asdict, replies), self.mode)  # logs of older versions have no checksums
        self._known = {reply.request: reply for reply in replies}

    def predict(self, form: ChatRequests, shots: ExampleSeq, examples: ExampleSeq) -> list[Prediction]:
        """Answer examples through the server; the prediction of a row that fails is empty.

        Raises:
            RunError: it cannot be reached, refuses, or fails row after row.
        """
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        proxied = not LOCAL.match(self._place)  # what is for this machine leaves it by no proxy
        client = AsyncClient(headers=headers, timeout=Timeout(None, connect=self.deadline / 8), trust_env=proxied)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
            send = partial(portal.call, self._exchange, client)
            return [Prediction(example.id, self._answer(form, shots, example, send)) for example in examples]

    def failures(self, rows: int) -> list[Message]:
        """Return how many of the last rows failed, and why the first did; an empty list if none did."""
        found, self._failures = self._failures, []
        rule = "{count} of {rows} answers of the server could not be used: {reason}"
        return [msg(rule, count=len(found), rows=rows, reason=found[0])] if found else []

    def _answer(self, form: ChatRequests, shots: ExampleSeq, example: Example, send: Send) -> str:
        """Return what the server answers an example; an empty text if one of its requests fails."""
        answers = list[str]()
        for turns in form.requests(example, shots):
            if (text := self._ask(turns, send)) is None:
                return ""
            answers.append(form.parse(text))
        return BETWEEN.join(answers)

    def _ask(self, turns: Sequence[Turn], send: Send) -> str | None:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        question = {
            "model": self.settings.model, "messages": messages, "temperature": 0, "max_tokens": self.max_new_tokens,
        }  # fmt: skip
        body = json.dumps(question, ensure_ascii=False, sort_keys=True).encode()
        digest = hashlib.sha256(f"{self.settings.against}\n".encode() + body).hexdigest()
        if digest in self._known:
            return self._known[digest].text
        found = self._once(body, send)
        for pause in PAUSES:
            if isinstance(found, Answer) or found.again is None:
                break
            self.sleep(min(max(pause, found.again), MOST_PAUSE) * random.SystemRandom().uniform(1, 1.25))
            found = self._once(body, send)
        if isinstance(found, Answer):
            text = self._masked(found.text) if len(self.key) >= SECRET else found.text
            self._known[digest] = Reply(digest, text, found.tokens_in or 0, found.tokens_out or 0)
            append_line(self.file, asdict(self._known[digest]), self.mode)
            self._in_a_row = 0
            return text
        self._failures.append(found.reason)
        self._in_a_row += 1
        if found.remedy or (self._in_a_row >= FAILURES and (found.absent or not self._known)):
            raise RunError(Fault(found.reason, self._place, found.remedy or KEPT))
        return None

    def _once(self, body: bytes, send: Send) -> Answer | Failure:
        try:
            head, data = send(body)
        except TimeoutError:
            return Failure(msg("no answer within {time}", time=Figure(self.deadline, "duration")), absent=True)
        except ABSENT as error:
            rule = msg("the server cannot be reached: {error}", error=self._shown(str(error) or repr(error)))
            return Failure(rule, absent=True, again=0, remedy=KEPT)
        except TransportError as error:
            rule = msg("the connection broke: {error}", error=self._shown(str(error) or repr(error)))
            return Failure(rule, absent=True, again=0)
        if not head.is_success:
            return self._refusal(head, self._shown(data.decode("utf-8", "replace")))
        try:
            return Answer.model_validate_json(data, strict=True)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            return Failure(msg("it is not a chat completion: {where} {fault}", where=where, fault=fault["msg"]))

    async def _exchange(self, client: AsyncClient, body: bytes) -> tuple[Response, bytes]:
        """Send a question and read the answer until the deadline; one that is too long is cut."""
        data = bytearray()
        with fail_after(self.deadline):
            async with client.stream("POST", self._place, content=body) as answer:
                async for part in answer.aiter_raw():
                    data += part
                    if len(data) > MOST_BYTES:
                        break
        return answer, bytes(data)

    def _refusal(self, head: Response, said: str) -> Failure:
        if head.has_redirect_location:
            host = head.next_request.url.host if head.next_request else head.headers["Location"]
            rule = msg("the server sends to {host}, and redirects are not followed", host=self._shown(host))
            return Failure(rule, remedy=msg("give the new address if you trust it"))
        rule = msg("the server refused with status {status}: {reply}", status=str(head.status_code), reply=said)
        if head.status_code in BUSY:
            after = head.headers.get("Retry-After", "")
            return Failure(rule, absent=True, again=float(after) if re.fullmatch("[0-9]{1,9}", after) else 0)
        sent = msg("check the model's name, and the key in the environment variable {key}", key=self.settings.key)
        unsent = msg(
            "no key was sent: set the environment variable {key}, and name it or the server on the command line, since "
            "a recipe cannot send keys; or add the line `{server} {key}` to {file}",
            key=self.settings.key, server=self.settings.against or "", file=str(own_lines("keys")[0]),
        )  # fmt: skip
        return Failure(rule, remedy=(sent if self.key else unsent) if head.status_code in REFUSALS else None)

    def _shown(self, text: str) -> str:
        """Return what a server says so that it can be printed: in short, without the key."""
        return "".join(sign if sign.isprintable() else " " for sign in self._masked(text)[:SHOWN])

    def _masked(self, text: str) -> str:
        return re.sub(re.escape(self.key), "***", text, flags=re.IGNORECASE) if self.key else text
