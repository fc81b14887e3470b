"""Requests that a server must survive: broken, lying, huge, slow, and abandoned ones, drawn by a seed."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

SECONDS = 30.0
"""Longest wait for an answer or for the end of a connection."""
VALUES = (
    None, True, -1, 0, 1e308, 10**30, "", "x", "Ёж\u0000", "\u202e", [], [[]], {}, {"a": {"b": []}}, [None] * 3,
    "../../etc/passwd", "{{7*7}}", "<script>", "a" * 5000,
)  # fmt: skip
"""What is put in the place of right values."""
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/classify", "/v1/embeddings", "/v1/decisions", "/v1/outcomes")


@dataclass(frozen=True)
class Attack:
    """What is sent, and whether the client reads the answer."""

    kind: str
    data: bytes
    reads: bool = True


def bodies(writer: str, classifier: str) -> dict[str, dict[str, object]]:
    """Return a right body for each path."""
    question = {"type": "predicate", "instructions": "good"}
    return {
        "/v1/chat/completions": {"model": writer, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3},
        "/v1/completions": {"model": writer, "prompt": "Hi", "max_tokens": 3, "temperature": 1.0},
        "/v1/classify": {"model": classifier, "input": ["a warm film", "dull"]},
        "/v1/embeddings": {"model": classifier, "input": "a warm film"},
        "/v1/decisions": {"model": classifier, "input": "a warm film", "questions": [question]},
        "/v1/outcomes": {"id": "x", "reward": 1},
    }


def request(path: str, body: bytes, *headers: str, method: str = "POST", host: str = "127.0.0.1") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", "Connection: close"]
    lines += headers or [f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


class Attacker:
    """Draws attacks."""

    def __init__(self, seed: int, writer: str, classifier: str) -> None:
        self.drawn, self.bodies = random.Random(seed), bodies(writer, classifier)
        self.kinds: tuple[Callable[[str, dict[str, object]], Attack], ...] = (
            self.wrong_value, self.wrong_value, self.broken_json, self.noise, self.unknown, self.headers,
            self.lying_length, self.half_sent, self.abandoned, self.huge, self.odd_start,
        )  # fmt: skip

    def draw(self) -> Attack:
        path = self.drawn.choice(PATHS)
        return self.drawn.choice(self.kinds)(path, json.loads(json.dumps(self.bodies[path])))

    def wrong_value(self, path: str, body: dict[str, object]) -> Attack:
        places = [(body, key) for key in body]
        for value in body.values():
            if isinstance(value, list) and value:
                places.append((value, 0))
                places += [(value[0], key) for key in value[0]] if isinstance(value[0], dict) else []
        holder, key = self.drawn.choice(places)
        holder[key] = self.drawn.choice(VALUES)
        return Attack("wrong value", request(path, json.dumps(body).encode()))

    def broken_json(self, path: str, body: dict[str, object]) -> Attack:
        text = bytearray(json.dumps(body).encode())
        for _ in range(self.drawn.randrange(1, 4)):
            at = self.drawn.randrange(len(text))
            text[at : at + self.drawn.randrange(3)] = bytes(self.drawn.randrange(256) for _ in range(2))
        return Attack("broken JSON", request(path, bytes(text)))

    def noise(self, path: str, _: dict[str, object]) -> Attack:
        deep = b"[" * 20_000 + b"]" * 20_000
        odd = (
            deep, b'{"model": NaN}', b'{"model": "\\ud800"}', b"\xff\xfe{}", b"", b"null", b"{" * 500, b'{"a":1,"a":2}',
        )  # fmt: skip
        return Attack("odd JSON", request(path, self.drawn.choice(odd)))

    def unknown(self, path: str, body: dict[str, object]) -> Attack:
        body[self.drawn.choice(("__proto__", "tools", "files", "modle", "\u0000", "path"))] = "x"
        names = (path, f"{path}/", "/v1/../../etc/passwd", "/%2e%2e/%2e%2e", "/v1/files?path=/", "//", "/a\\b")
        name = self.drawn.choice(names)
        return Attack("unknown", request(name, json.dumps(body).encode()))

    def headers(self, path: str, body: dict[str, object]) -> Attack:
        data = json.dumps(body).encode()
        length = f"Content-Length: {len(data)}"
        games = (
            (length, "X-Long: " + "a" * 100_000), (length, *(f"X-{n}: y" for n in range(2000))), (length, length),
            (length, "Content-Length: 3"), (length, "Transfer-Encoding: chunked"), ("Content-Length: -5",),
            ("Transfer-Encoding: gzip, chunked",), ("Content-Length: 99999999999999999999",),
            (length, "Expect: 100-continue"),
            (length, "Upgrade: websocket", "Sec-WebSocket-Key: x"), (length, "Authorization: Bearer \udcff"),
            (length, "Host: evil.example"), (length, "Origin: http://evil.example"), (length, ": empty"),
            (length, "bad header"), (length, "Content-Encoding: gzip"), (length, "Content-Type: text/plain"),
        )  # fmt: skip
        return Attack("header games", request(path, data, *self.drawn.choice(games)))

    def lying_length(self, path: str, body: dict[str, object]) -> Attack:
        data = json.dumps(body).encode()
        return Attack("lying length", request(path, data, f"Content-Length: {max(0, len(data) - 7)}"))

    def half_sent(self, path: str, body: dict[str, object]) -> Attack:
        whole = request(path, json.dumps(body).encode())
        return Attack("half sent", whole[: self.drawn.randrange(1, len(whole))], reads=False)

    def abandoned(self, path: str, body: dict[str, object]) -> Attack:
        streams = {"stream": True, "max_tokens": 100} if "completions" in path else {}
        return Attack("abandoned", request(path, json.dumps({**body, **streams}).encode()), reads=False)

    def huge(self, path: str, _: dict[str, object]) -> Attack:
        return Attack("huge", request(path, b'{"model": "' + b"a" * (2 << 20)))

    def odd_start(self, path: str, body: dict[str, object]) -> Attack:
        silent = (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n" * 1000, b"\x00" * 5000,
            b"GET / HTTP/1.1\r\nA:",
        )  # fmt: skip
        starts = (
            b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
            request(path, b"", method="TRACE"), request(path, b"", method="A" * 5000),
            request(path, json.dumps(body).encode(), host="evil.example"),
            b"GET " + b"/a" * 50_000 + b" HTTP/1.1\r\n\r\n",
        )  # fmt: skip
        if not self.drawn.randrange(4):
            return Attack("silent", self.drawn.choice(silent), reads=False)
        return Attack("odd start", self.drawn.choice(starts))


def carry_out(attack: Attack, port: int) -> int:
    """Send an attack; return the status of the answer, 0 if there is none.

    Raises:
        AssertionError: the answer tells of the inside, or the server neither answers nor closes the connection.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        try:
            connection.sendall(attack.data)
            if not attack.reads:
                return 0
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        except (ConnectionResetError, BrokenPipeError):
            return 0
        except TimeoutError:
            raise AssertionError(f"{attack.kind}: no answer and no end: {attack.data[:300]!r}") from None
    answer = b"".join(parts)
    assert b"Traceback" not in answer and b".py" not in answer, answer
    statuses = re.findall(rb"^HTTP/1\.1 (\d+) ", answer, re.MULTILINE)  # the last one, behind a 100
    return int(statuses[-1]) if statuses else 0
