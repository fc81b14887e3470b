"""An OpenAI-compatible server as a contender: its answers are kept in the run, its tokens counted."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kamerton.core.contracts import ChatRequests
from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import msg
from kamerton.core.records import ExampleSeq, Prediction, Turn
from kamerton.runs.recipe import PromptSettings

SECONDS = 120.0
"""Longest time to wait for one answer."""


@dataclass(frozen=True)
class Reply:
    """One answer of a server."""

    request: str
    """sha256 of the request: the same one is not sent, or paid, twice."""
    text: str
    tokens_in: int
    tokens_out: int


@dataclass
class Endpoint:
    """A server with the answers it has given."""

    settings: PromptSettings
    file: Path
    """JSON Lines of its answers."""
    max_new_tokens: int
    _known: dict[str, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines()
            self._known = {reply.request: reply for reply in (Reply(**json.loads(line)) for line in lines)}

    @property
    def cost(self) -> float:
        """Cost of all answers so far, in the unit of the prices."""
        spent = (
            r.tokens_in * self.settings.price_in + r.tokens_out * self.settings.price_out for r in self._known.values()
        )
        return sum(spent) / 1e6

    def predict(self, form: ChatRequests, shots: ExampleSeq, examples: ExampleSeq) -> list[Prediction]:
        """Answer examples through the server.

        Raises:
            RunError: it cannot be reached, refuses, or its answer is not a chat completion.
        """
        asked = ((example, form.to_messages(example, shots)) for example in examples)
        return [Prediction(example.id, form.parse(self._ask(turns).text)) for example, turns in asked]

    def _ask(self, turns: Sequence[Turn]) -> Reply:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        question = {
            "model": self.settings.model, "messages": messages, "temperature": 0, "max_tokens": self.max_new_tokens,
        }  # fmt: skip
        body = json.dumps(question, ensure_ascii=False, sort_keys=True).encode()
        digest = hashlib.sha256(f"{self.settings.against}\n".encode() + body).hexdigest()
        if digest not in self._known:
            self._known[digest] = self._fetch(digest, body)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self._known[digest]), ensure_ascii=False) + "\n")
        return self._known[digest]

    def _fetch(self, digest: str, body: bytes) -> Reply:
        place = f"{self.settings.against}/chat/completions"
        if not place.startswith(("http://", "https://")):
            rule = msg("'{address}' is not the address of a server", address=str(self.settings.against))
            raise RunError(Fault(rule, "prompt.against", "http://host/v1"))
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.settings.key):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(place, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                reply = json.load(answer)
            usage, text = reply.get("usage") or {}, reply["choices"][0]["message"]["content"] or ""
            return Reply(digest, str(text), int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
        except urllib.error.HTTPError as error:
            reply = error.read(300).decode("utf-8", "replace")
            rule = msg("the server refused with status {status}: {reply}", status=str(error.code), reply=reply)
            remedy = msg(
                "check prompt.model, and the key in the environment variable {variable}", variable=self.settings.key
            )
            raise RunError(Fault(rule, place, remedy)) from error
        except OSError as error:
            rule = msg("the server cannot be reached: {error}", error=str(error))
            remedy = msg("start it, or correct --against; `kamerton resume` continues, answers so far are kept")
            raise RunError(Fault(rule, place, remedy)) from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            rule = msg("the server's answer is not a chat completion")
            remedy = msg("use the address of an OpenAI-compatible server, up to and including /v1")
            raise RunError(Fault(rule, place, remedy)) from error
