"""An A/B test between two served models, whose log is that of `kamerton ab`.

An answer's id does not tell its arm, so that whoever rates it stays blind: its last letters are a keyed hash of the id
and the arm. So outcomes can be taken after a restart, and nobody can invent one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kamerton.core.errors import DataError, Fault, RunError
from kamerton.core.files import sync
from kamerton.core.message_json import to_json, without_templates
from kamerton.core.messages import msg
from kamerton.core.readers import parse_json
from kamerton.feedback.living import TIE, WRITE, judge_log
from kamerton.runs.logs import append_line, whole_lines
from kamerton.serve.metrics import log
from kamerton.serve.refusal import RefusalError
from kamerton.serve.requests import OutcomeRequest

TAG = 16
"""Letters of the keyed hash: 64 bits."""
LOOK_AGAIN = 1.05
"""The log is judged for a promotion once it has so many times the outcomes of the last look; each is valid."""


@dataclass(frozen=True)
class Assigned:
    """An answer's arm."""

    arm: str
    key: bytes

    def id(self, prefix: str) -> str:
        """Return a new id."""
        drawn = f"{prefix}-{secrets.token_hex(12)}"
        return drawn + _tag(self.key, drawn, self.arm)


def _tag(key: bytes, drawn: str, arm: str) -> str:
    return hmac.new(key, f"{drawn} {arm}".encode(), hashlib.sha256).hexdigest()[:TAG]


@dataclass
class AbTest:
    """Two arms, how requests are shared between them, and the log of outcomes.

    Raises:
        RunError: the log is damaged.
    """

    first: str
    second: str
    share: float
    """Of the first."""
    path: Path
    promote: bool = False
    name: str = "ab"
    """Of the model that clients ask."""
    promoted: str = ""
    """The arm that gets all requests; empty while both do."""
    _rated: set[str] = field(default_factory=set)
    _paired: bool | None = None
    _outcomes: int = 0
    _looked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            os.truncate(self.path, len(whole_lines(self.path)))  # what a kill cut short was not acknowledged
            for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], 1):
                self._note(parse_json(line, self.path, RunError, WRITE, number))
        self._key = self._own_key()
        self._look()

    def _own_key(self) -> bytes:
        """Return the key of the ids, which stands beside the log; make it if there is none."""
        path = self.path.with_name(self.path.name + ".key")
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(secrets.token_hex(32).encode())
            sync(path)
        key = path.read_bytes()
        if len(key) < 32:
            raise RunError(Fault(msg("the key of the A/B test's ids is damaged"), str(path), msg("remove the file")))
        return key

    def assign(self, user: str | None) -> Assigned:
        """Return the arm of a request: always the same for one user, drawn for each request without one."""
        seed = user.encode() if user else secrets.token_bytes(16)
        drawn = int.from_bytes(hmac.digest(self._key, seed, "sha256")[:8], "big") / 2**64
        return Assigned(self.promoted or (self.first if drawn < self.share else self.second), self._key)

    def record(self, outcome: OutcomeRequest) -> dict[str, object]:
        """Append an outcome to the log, which is on the disk when this returns.

        Raises:
            RefusalError: it is none, of no answer of this test, or rated already.
        """
        record = self._record(outcome)
        with self._lock:
            if outcome.id in self._rated:
                raise RefusalError(409, "id: this answer has an outcome already", "id")
            if self._paired not in (None, "winner" in record):
                raise RefusalError(409, "the log holds outcomes of the other kind: rewards and winners do not mix")
            try:
                append_line(self.path, {**record, "time": round(time.time(), 3)}, 0o600)
                sync(self.path)
            except OSError as error:
                raise RefusalError(503, f"the outcome could not be written: {error.strerror}") from None
            self._note(record)
            if self.promote and not self.promoted:
                self._look()
        return {"object": "outcome", "recorded": True}

    def _note(self, record: Any) -> None:
        self._outcomes += 1
        self._paired = "winner" in record
        if isinstance(record, dict) and record.get("id"):
            self._rated.add(str(record["id"]))

    def _record(self, outcome: OutcomeRequest) -> dict[str, object]:
        if (outcome.reward is None) == (outcome.winner is None):
            raise RefusalError(400, "reward: give either a reward with the answer's id, or a winner", "reward")
        if outcome.winner is not None:
            if outcome.winner not in (self.first, self.second, TIE):
                rule = f"winner: must be {self.first}, {self.second} or {TIE}"
                raise RefusalError(400, rule, "winner")
            return {"winner": outcome.winner, **({"id": outcome.id} if outcome.id else {})}
        drawn, tag = (outcome.id or "")[:-TAG], (outcome.id or "")[-TAG:]
        for arm in (self.first, self.second):
            if drawn and hmac.compare_digest(_tag(self._key, drawn, arm).encode(), tag.encode()):
                return {"arm": arm, "outcome": float(outcome.reward or 0), "id": outcome.id}
        raise RefusalError(404, "id: no answer of this test has this id", "id")

    def state(self) -> dict[str, Any]:
        """Return what the log shows so far, valid at every look."""
        about = {"object": "ab", "first": self.first, "second": self.second, "promoted": self.promoted or None}
        try:
            verdict = judge_log(self.path, first=self.first)
        except DataError:  # no outcomes of both arms yet
            return {**about, "outcomes": self._outcomes, "decision": "not decided"}
        return {**about, **without_templates(to_json(verdict))}

    def _look(self) -> None:
        """Promote the better arm once the test is decided, if that is wanted."""
        if not self.promote or self._outcomes < self._looked * LOOK_AGAIN:
            return
        self._looked = self._outcomes
        state = self.state()
        better = {"first is better": self.first, "second is better": self.second}.get(state["decision"], "")
        if better:
            self.promoted = better
            log("promoted", {"arm": better, "outcomes": state["outcomes"], "e_value": state["e_value"]})
