"""Hostile servers behind `--against`, each a real one: none gets a key that is not for it, or stops more than a row."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kamerton.contenders.endpoint import FAILURES, MOST_PAUSE, PAUSES, Endpoint
from kamerton.core.errors import RecipeError, RunError
from kamerton.core.files import own_lines
from kamerton.core.records import Example, Place, Stage
from kamerton.forms.dialogue import Dialogue
from kamerton.runs.price import price
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from kamerton.runs.servers import allow_key, key_for
from kamerton.runs.settings import PromptSettings
from kamerton.session.new_run import new_run
from kamerton.tune import story
from stories import write_answers

KEY = "sk-Secret-0123456789abcdef"
FORM = Dialogue(ask=lambda example: f"{example.text}: good or bad?", choices=("bad", "good"))
ROWS = tuple(Example(i, Place("f", i), f"{text} {i}", "good") for i, text in enumerate(["odd", *["plain"] * 11]))
"""Servers are hostile to the first row, and answer the others."""
FAST = 0.4
"""Seconds that slow servers are waited for."""
SOON = 20
"""Seconds that nothing may take, on a machine that may be busy."""


class Asked(BaseHTTPRequestHandler):
    """Answers odd questions in the way of the test, and the others well."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hostile

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append(asked)
        self.server.headers.append(dict(self.headers))
        with contextlib.suppress(OSError):  # the client may go
            (self.server.behave if self.server.odd in asked else well)(self)

    def say(self, body: bytes | str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def raw(self, data: bytes) -> None:
        """Write bytes past all rules, and hang up."""
        self.close_connection = True
        self.wfile.write(data)

    def drip(self, first: bytes, drop: bytes) -> None:
        """Write a drop again and again, until the client goes."""
        self.raw(first)
        while not self.server.over.wait(0.01):
            self.wfile.write(drop)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class Hostile(ThreadingHTTPServer):
    """A server whose behaviour a test sets."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.behave: Callable[[Asked], None] = well
        self.odd = "odd"
        """What stands in the questions to which it behaves so."""
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """Print nothing where the client went."""


def completion(content: object = "Good, I think.", **more: object) -> str:
    usage = {"prompt_tokens": 9, "completion_tokens": 4}
    return json.dumps({"choices": [{"message": {"content": content}}], "usage": usage, **more})


def well(asked: Asked) -> None:
    asked.say(completion())


@pytest.fixture
def server() -> Iterator[Hostile]:
    with Hostile() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.over.set()
        running.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("A_KEY", KEY)
    return tmp_path / "config"


@dataclass
class Waits:
    """Counts the seconds that were to be waited, and waits none."""

    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def endpoint(address: str, folder: Path, *, key: str = KEY, deadline: float = 60.0, **settings: Any) -> Endpoint:
    prompt = PromptSettings(against=address, model="big", key="A_KEY", **settings)
    return Endpoint(prompt, folder / "endpoint.jsonl", 5, key, deadline=deadline, sleep=Waits())


def says(body: bytes | str, status: int = 200, **headers: str) -> Callable[[Asked], None]:
    return lambda asked: asked.say(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def raw(data: bytes) -> Callable[[Asked], None]:
    return lambda asked: asked.raw(data)


def drips(first: bytes, drop: bytes) -> Callable[[Asked], None]:
    return lambda asked: asked.drip(first, drop)


def usage(value: object) -> Callable[[Asked], None]:
    return says(completion(usage=value))


def resets(asked: Asked) -> None:
    asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    asked.close_connection = True
    asked.connection.close()


def hangs(asked: Asked) -> None:
    asked.close_connection = True
    asked.server.over.wait()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAILS: dict[str, Callable[[Asked], None]] = {
    "a list": says("[]"),
    "null": says("null"),
    "a number": says("7"),
    "nothing": says(""),
    "status 204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "HTML": says("<html><body>Please log in</body></html>"),
    "100,000 brackets": says("[" * 100_000),
    "100,000 objects in each other": says('{"choices":' * 100_000),
    "two values": says(completion() + completion()),
    "half a JSON": says(completion()[:40]),
    "no choices": says("{}"),
    "empty choices": says(completion(choices=[])),
    "choices that are text": says(completion(choices="Good")),
    "a choice without message": says(completion(choices=[{"text": "Good"}])),
    "a million choices": says('{"choices": [' + ",".join(["{}"] * 1_000_000) + "]}"),
    "text null": says(completion(None)),
    "text is a number": says(completion(12)),
    "text is a list": says(completion(["Good"])),
    "text with NUL": says(completion("Good\0")),
    "NUL bytes": says(b"\0" * 1000),
    "a lone surrogate": says(completion().replace("Good", "\\ud800 Good")),
    "bytes that are not UTF-8": says(completion().replace("Good", "Gööd").encode("latin-1").replace(b"G", b"\xff")),
    "UTF-16": says(completion().encode("utf-16")),
    "usage is text": usage("many"),
    "usage is a list": usage([1, 2]),
    "usage with numbers as strings": usage({"prompt_tokens": "9", "completion_tokens": "4"}),
    "usage below zero": usage({"prompt_tokens": -1_000_000}),
    "usage with a fraction": usage({"prompt_tokens": 1.5}),
    "usage 1e400": says(completion(usage={"prompt_tokens": 7}).replace("7", "1e400")),
    "usage NaN": usage({"prompt_tokens": float("nan")}),
    "usage of 5,000 digits": says(completion(usage={"prompt_tokens": 7}).replace("7", "9" * 5000)),
    "usage of 1,000 digits": usage({"completion_tokens": 10**1000}),
    "a short body": raw(HEAD + b"Content-Length: 999\r\n\r\n" + completion().encode()),
    "a chunk that ends early": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{"),
    "a chunk of no size": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{"),
    "two lengths": raw(HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n{}   "),
    "a length below zero": raw(HEAD + b"Content-Length: -5\r\n\r\n{}"),
    "a gzip bomb": says(gzip.compress(b" " * 50_000_000, 1), Content_Encoding="gzip"),
    "an endless body": drips(HEAD + b"\r\n", b"[" * 200_000),
    "an endless head": drips(HEAD, b"X-More: " + b"x" * 50_000 + b"\r\n"),
    "a text too long": says(completion("Good " * 100_000)),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a status that is none": raw(b"HTTP/1.1 99999 What\r\n\r\n"),
    "control signs in the head": raw(HEAD + b"X-\0: \1\r\n\r\n"),
    "it hangs up": raw(b""),
    "it resets": resets,
    "status 101": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\n\r\n"),
    "status 304": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "status 400": says('{"error": "the prompt is too long"}', 400),
    "status 400 with control signs": says("\x1b[2J\x1b]0;owned\x07 no", 400),
    "status 429": says("slow down", 429),
    "status 429 until 2099": says("slow down", 429, Retry_After="Fri, 31 Dec 2099 23:59:59 GMT"),
    "status 503 for ages": says("", 503, Retry_After="9" * 5000),
    "status 503, back in the past": says("", 503, Retry_After="-5"),
    "status 500 that echoes the key": lambda asked: asked.say(asked.headers["Authorization"], 500),
}
SLOW: dict[str, Callable[[Asked], None]] = {
    "it says nothing": hangs,
    "a drop at a time": drips(HEAD + b"Content-Length: 100000\r\n\r\n{", b" "),
    "a head in drops": drips(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "a status in drops": drips(b"HTTP/1.1 200 ", b"O"),
    "chunks in drops": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "one 100 after another": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "one 103 after another": drips(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
}
ENDS: dict[str, tuple[Callable[[Asked], None], str]] = {
    "status 401": (says('{"error": "who are you"}', 401), "status 401.*who are you"),
    "status 401 that echoes the key": (
        lambda asked: asked.say(asked.headers["Authorization"], 401),
        "Bearer \\*\\*\\*",
    ),
    "status 403 that shouts the key": (
        lambda asked: asked.say(asked.headers["Authorization"].upper(), 403),
        "BEARER \\*\\*\\*",
    ),
    "status 401 with the key at the end of what is shown": (
        lambda asked: asked.say("x" * 280 + asked.headers["Authorization"], 401),
        "status 401",
    ),
    "status 401 of 50 MB": (says(b"no " * 17_000_000, 401), "status 401"),
    "status 404": (says('{"error": "no such model"}', 404), "no such model"),
    "status 407": (says("", 407, Proxy_Authenticate="Basic"), "status 407"),
    "a redirect to nowhere": (says("", 302, Location="http://[/"), "redirects are not followed"),
    "a redirect to a file": (says("", 302, Location="file:///etc/passwd"), "redirects are not followed"),
    "a redirect within": (says("", 301, Location="/login"), "sends to 127.0.0.1"),
    "a redirect to its own host": (says("", 308, Location="//evil.test/v1"), "sends to evil.test"),
    "a redirect with a password": (says("", 307, Location="https://u:p@evil.test/?q=1"), "sends to evil.test"),
    "a redirect with the key": (
        lambda asked: asked.say("", 303, {"Location": f"https://{KEY}.evil.test/{KEY}"}),
        r"sends to \*\*\*.evil.test",
    ),
}
FINE: dict[str, Callable[[Asked], None]] = {
    "well": well,
    "more than is needed": says(completion(id=1, system_fingerprint=None, extra={"deep": [[]]})),
    "no usage": says(completion(usage=None)),
    "usage of null": usage({"prompt_tokens": None}),
    "a head that asks for cookies": says(completion(), Set_Cookie="a=" + "b;" * 20_000),
    "another type": says(completion(), Content_Type="text/plain; charset=utf-99"),
    "ends of lines in the text": says(completion("Good\u2028\u2029\x85\x0b\x0c, I\r\nthink.\n")),
    "the key in the text": lambda asked: asked.say(completion(f"Good, {KEY}")),
    "the key in the text, escaped": says(completion("Good, KEY").replace("KEY", "\\u0073" + KEY[1:])),
}


def seen(folder: Path, *texts: object) -> str:
    """Return all that was told or written."""
    return "\n".join([*map(str, texts), *(path.read_text() for path in folder.rglob("*") if path.is_file())])


def test_a_server_is_asked_once_for_each_row_and_its_label_is_found(server, tmp_path):
    predictions = endpoint(server.address, tmp_path).predict(FORM, ROWS[:1], ROWS[1:4])
    assert [p.text for p in predictions] == ["good"] * 3
    asked = json.loads(server.asked[0])
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("big", 0, 5)
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}"] * 3
    assert endpoint(server.address, tmp_path).predict(FORM, ROWS[:1], ROWS[1:4]) == predictions
    assert len(server.asked) == 3
    assert KEY not in seen(tmp_path)


@pytest.mark.parametrize("name", [*FAILS, *SLOW])
def test_an_answer_that_cannot_be_used_is_the_failure_of_its_row(server, tmp_path, name):
    server.behave = (FAILS | SLOW)[name]
    asked = endpoint(server.address, tmp_path, deadline=FAST if name in SLOW else 60.0)
    began = time.perf_counter()
    predictions = asked.predict(FORM, (), ROWS[:3])
    assert time.perf_counter() - began < SOON
    assert [p.text for p in predictions] == ["", "good", "good"]
    [told] = asked.failures(3)
    assert str(told).startswith("1 of 3 answers of the server could not be used: ")
    assert str(told).isprintable() and len(str(told)) < 500
    assert asked.failures(3) == []
    assert KEY.lower() not in seen(tmp_path, told, predictions, asked).lower()


def test_a_resume_asks_only_what_was_not_answered(server, tmp_path):
    server.behave = FAILS["a list"]
    assert [p.text for p in endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:3])] == ["", "good", "good"]
    server.behave = well
    assert [p.text for p in endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:3])] == ["good"] * 3
    assert ["odd" in question for question in server.asked] == [True, False, False, True]


@pytest.mark.parametrize("name", ENDS)
def test_a_refusal_ends_the_run_and_a_resume_keeps_the_answers(server, tmp_path, name):
    server.behave, rule = ENDS[name]
    asked = endpoint(server.address, tmp_path)
    with pytest.raises(RunError, match=rule) as raised:
        asked.predict(FORM, (), ROWS[::-1])
    assert KEY.lower() not in seen(tmp_path, raised.value).lower()
    assert len(server.asked) == len(ROWS)
    server.behave = well
    assert [p.text for p in endpoint(server.address, tmp_path).predict(FORM, (), ROWS)] == ["good"] * len(ROWS)
    assert len(server.asked) == len(ROWS) + 1


@pytest.mark.parametrize("name", FINE)
def test_what_is_odd_but_can_be_used_is_used(server, tmp_path, name):
    server.behave = FINE[name]
    asked = endpoint(server.address, tmp_path)
    predictions = asked.predict(FORM, (), ROWS[:2])
    assert [p.text for p in predictions] == ["good", "good"] and asked.failures(2) == []
    assert KEY.lower() not in seen(tmp_path, predictions).lower()
    assert endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:2]) == predictions
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_never_followed_with_or_without_the_key(server, tmp_path, status):
    with Hostile() as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        elsewhere = f"http://localhost:{other.server_port}/v1/chat/completions"
        server.behave = says("", status, Location=elsewhere)
        with pytest.raises(RunError, match="sends to localhost, and redirects are not followed"):
            endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:1])
        other.shutdown()
        assert other.asked == []


ODD = tuple(Example(i, Place("f", i), f"odd {i}", "good") for i in range(50, 60))


@pytest.mark.parametrize("name", ["it hangs up", "status 503, back in the past", "it says nothing"])
def test_a_server_that_goes_away_in_the_middle_stops_the_run(server, tmp_path, name):
    server.behave = (FAILS | SLOW)[name]
    asked = endpoint(server.address, tmp_path, deadline=0.05 if name in SLOW else 60.0)
    asked.predict(FORM, (), (*ROWS[1:3], *ODD[: FAILURES - 1], ROWS[3], *ODD[: FAILURES - 1]))
    with pytest.raises(RunError, match="kamerton resume"):
        asked.predict(FORM, (), ODD)
    server.behave, before = well, len(server.asked)
    assert len(endpoint(server.address, tmp_path).predict(FORM, (), (*ROWS[1:4], *ODD))) == len(ODD) + 3
    assert len(server.asked) == before + len(ODD)


def test_a_server_that_takes_connections_and_no_more_is_left_before_the_deadline(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        asked = endpoint(f"https://127.0.0.1:{mute.getsockname()[1]}/v1", tmp_path, deadline=FAST)
        began = time.perf_counter()
        with pytest.raises(RunError, match="cannot be reached: ConnectTimeout"):
            asked.predict(FORM, (), ROWS[:1])
        assert time.perf_counter() - began < SOON


def test_a_server_is_asked_from_within_a_loop_as_in_a_notebook(server, tmp_path):
    async def cell() -> list[str]:
        return [p.text for p in endpoint(server.address, tmp_path).predict(FORM, (), ROWS[1:3])]

    assert asyncio.run(cell()) == ["good", "good"]


def test_an_interrupt_ends_the_wait_at_once_and_loses_no_answer(server, tmp_path):
    server.behave = hangs
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        endpoint(server.address, tmp_path).predict(FORM, (), (ROWS[1], ROWS[0]))
    signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - began < SOON
    assert len((tmp_path / "endpoint.jsonl").read_text().splitlines()) == 1


def test_what_has_never_given_an_answer_is_no_server(server, tmp_path):
    server.behave = FAILS["HTML"]
    with pytest.raises(RunError, match=r"is not a chat completion.*\n.*up to and including /v1"):
        endpoint(server.address, tmp_path).predict(FORM, (), ODD)
    assert len(server.asked) == FAILURES


def test_rows_that_a_server_never_answers_do_not_stop_it(server, tmp_path):
    server.behave = FAILS["status 400"]
    asked = endpoint(server.address, tmp_path)
    assert [p.text for p in asked.predict(FORM, (), (ROWS[1], *ODD))] == ["good"] + [""] * len(ODD)
    assert str(asked.failures(11)[0]).startswith("10 of 11 answers of the server could not be used: ")


# ── trying again ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [says("", 429), says("", 500), says("", 503), raw(b""), resets])
def test_a_busy_server_is_asked_again(server, tmp_path, first):
    def behave(asked: Asked) -> None:
        (well if len(server.asked) > 2 else first)(asked)

    server.behave = behave
    asked = endpoint(server.address, tmp_path)
    assert [p.text for p in asked.predict(FORM, (), ROWS[:1])] == ["good"]
    assert len(server.asked) == 3 and asked.failures(1) == []


@pytest.mark.parametrize(
    ("after", "least"),
    [
        ("", [1, 2, 4]),
        ("7", [7, 7, 7]),
        ("0", [1, 2, 4]),
        ("3600", [MOST_PAUSE] * 3),
        ("1e400", [1, 2, 4]),
        ("nan", [1, 2, 4]),
        ("-3", [1, 2, 4]),
        ("٣", [1, 2, 4]),
    ],
)
def test_it_is_waited_between_as_long_as_the_server_says_within_a_limit_and_never_in_step(
    server, tmp_path, after, least
):
    server.behave = lambda asked: asked.raw(
        f"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: {after}\r\n\r\n".encode()
    )
    waits = []
    for part in ("a", "b"):
        asked = endpoint(server.address, tmp_path / part)
        (tmp_path / part).mkdir()
        asked.predict(FORM, (), ROWS[:1])
        assert isinstance(asked.sleep, Waits)
        waits.append(asked.sleep.seconds)
        assert all(low <= wait <= low * 1.25 for low, wait in zip(least, waits[-1], strict=True))
    assert waits[0] != waits[1] and len(waits[0]) == len(PAUSES)


def test_a_server_that_is_not_there_is_tried_again_and_then_told(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        asked = endpoint(f"http://127.0.0.1:{closed.getsockname()[1]}/v1", tmp_path)
        with pytest.raises(RunError, match=r"cannot be reached.*\n.*kamerton resume"):
            asked.predict(FORM, (), ROWS)
    assert isinstance(asked.sleep, Waits) and len(asked.sleep.seconds) == len(PAUSES)


@pytest.mark.parametrize(
    "address",
    [
        "http://[:::]/v1",
        f"http://{'я' * 60}.test",
        "http://a..b/v1",
        "https://127.0.0.1:{port}/v1",
        "http://127.0.0.1:1/\x01",
    ],
)
def test_an_address_that_leads_nowhere_is_told(server, tmp_path, address):
    with pytest.raises(RunError, match="cannot be reached"):
        endpoint(address.format(port=server.server_port), tmp_path).predict(FORM, (), ROWS)


def test_no_proxy_sees_what_is_for_this_machine(server, tmp_path, monkeypatch):
    with Hostile() as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        endpoint(server.address, tmp_path).predict(FORM, (), ROWS[1:2])
        proxy.shutdown()
        assert proxy.asked == [] and len(server.asked) == 1


# ── which key goes where ──────────────────────────────────────────────────────────────────────


def recipe_of(folder: Path, **prompt: str) -> Path:
    path = folder / "stranger.yaml"
    path.write_text(json.dumps({"data": {"path": "x.csv"}, "prompt": prompt}))
    return path


def key_of(run: Run) -> str:
    return key_for(run.recipe.prompt.against or "", run.recipe.prompt.key)


HERS = "https://evil.test/v1"


@pytest.mark.parametrize(
    ("written", "given", "sent"),
    [
        ({"against": HERS}, {}, ""),
        ({"against": HERS, "key": "A_KEY"}, {}, ""),
        ({"key": "A_KEY"}, {"prompt.against": "https://mine.test/v1"}, ""),
        ({"against": HERS, "key": "OTHER"}, {"prompt.key": "A_KEY"}, KEY),
        ({}, {"prompt.against": "https://mine.test/v1", "prompt.key": "A_KEY"}, KEY),
        ({}, {"prompt.against": "https://mine.test/v1"}, "the usual one"),
        ({"key": "OPENAI_API_KEY"}, {"prompt.against": "https://mine.test/v1"}, "the usual one"),
    ],
)
def test_a_key_goes_only_where_the_command_line_sends_it(tmp_path, monkeypatch, written, given, sent):
    monkeypatch.setenv("OPENAI_API_KEY", "the usual one")
    run = new_run(recipe_of(tmp_path, **written), tmp_path / "run", given)
    assert key_of(run) == sent
    copy = new_run(run.path / "recipe.yaml", tmp_path / "again", {})
    assert key_of(copy) == sent  # the same server and variable: the user's own choice


def test_a_run_of_a_stranger_gets_no_key_whatever_it_claims(tmp_path, home):
    run = new_run(recipe_of(tmp_path), tmp_path / "run", {"prompt.against": HERS, "prompt.key": "A_KEY"})
    assert "origin: flag" in (run.path / "recipe.yaml").read_text()
    assert own_lines("keys")[0].read_text() == f"{HERS} A_KEY\n" and own_lines("keys")[0].is_relative_to(home)
    own_lines("keys")[0].unlink()  # as on the machine of another user
    assert key_of(run) == ""
    allow_key(HERS, "A_KEY")
    allow_key(HERS, "A_KEY")
    allow_key("https://mine.test", "A_KEY")
    assert own_lines("keys")[0].read_text() == f"{HERS} A_KEY\nhttps://mine.test A_KEY\n" and key_of(run) == KEY


def test_a_home_that_cannot_be_written_to_matters_only_where_there_is_a_key(tmp_path, home):
    home.write_text("a file in place of a folder")
    run = new_run(recipe_of(tmp_path), tmp_path / "run", {"prompt.against": HERS, "prompt.key": "NOT_SET"})
    assert key_of(run) == ""
    with pytest.raises(OSError, match="config"):
        new_run(recipe_of(tmp_path), tmp_path / "other", {"prompt.against": HERS, "prompt.key": "A_KEY"})
    assert not (tmp_path / "other").exists()


def test_a_key_that_could_be_read_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(RunError, match="could read the key"):
        new_run(recipe_of(tmp_path), tmp_path / "run", {"prompt.against": "http://evil.test/v1", "prompt.key": "A_KEY"})
    assert not (tmp_path / "run").exists()
    new_run(recipe_of(tmp_path), tmp_path / "run", {"prompt.against": "http://evil.test/v1", "prompt.key": ""})


@pytest.mark.parametrize("old", [b"\xff\xfe\0\0", b"https://mine.test A_KEY", b"\n\n# a note of mine\r\n"])
def test_the_users_file_may_hold_anything(old):
    own_lines("keys")[0].parent.mkdir(parents=True)
    own_lines("keys")[0].write_bytes(old)
    allow_key(HERS, "A_KEY")
    assert key_for(HERS, "A_KEY") == KEY and key_for("https://other.test", "A_KEY") == ""


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("https://evil.test/v1", True),
        ("HTTPS://evil.test:8443", True),
        ("http://localhost:8000/v1", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1/v1", True),
        ("http://[::1]:80/v1", True),
        ("http://evil.test/v1", False),
        ("http://127.0.0.1.evil.test/v1", False),
        ("http://localhost.evil.test:80", False),
        ("http://127.0.0.10/", False),
        ("http://[::12]/", False),
        ("http://10.0.0.1:8000/v1", False),
        ("http://ｌocalhost/v1", False),
    ],
)
def test_a_key_is_readable_on_no_network(address, sent):
    PromptSettings(against=address)
    if sent:
        allow_key(address, "A_KEY")
        assert key_for(address, "A_KEY") == KEY
    else:
        with pytest.raises(RunError, match="could read the key"):
            allow_key(address, "A_KEY")
        with pytest.raises(RunError, match="could read the key"):
            key_for(address, "A_KEY")
    assert key_for(address, "NOT_SET") == ""


@pytest.mark.parametrize("value", ["line\r\nX-Evil: 1", "ключ", "a\0b", "\x1b[2J"])
def test_a_value_that_is_no_key_is_told_and_not_shown(monkeypatch, value):
    monkeypatch.setattr("os.environ", {**__import__("os").environ, "A_KEY": value})
    with pytest.raises(RunError, match="signs that no key has") as raised:
        allow_key(HERS, "A_KEY")
    assert value not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("prompt.key", KEY),
        ("prompt.key", "A KEY"),
        ("prompt.key", "A_KEY\nB"),
        ("prompt.against", f"https://user:{KEY}@host/v1"),
        ("prompt.against", f"https://host/v1?key={KEY}"),
        ("prompt.against", f"https://host/v1#{KEY}"),
        ("prompt.against", f"https://host\\@{KEY}/v1"),
        ("prompt.against", "http://127.0.0.1:99999/v1"),
        ("prompt.against", "https://host /v1"),
        ("prompt.against", "file:///etc/hosts"),
        ("prompt.against", "nonsense"),
        ("prompt.against", "https://host/v1\n"),
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(tmp_path, path, value):
    with pytest.raises(RecipeError, match=r"an address like|the name of the environment variable") as raised:
        new_run(recipe_of(tmp_path), tmp_path / "run", {path: value})
    assert KEY not in str(raised.value)
    assert not (tmp_path / "run").exists() and not own_lines("keys")[0].exists()


def test_where_no_key_was_sent_the_refusal_says_why(server, tmp_path):
    server.behave = says("who are you", 401)
    with pytest.raises(RunError, match="no key was sent") as raised:
        endpoint(server.address, tmp_path, key="").predict(FORM, (), ROWS[:1])
    assert f"`{server.address} A_KEY` to {own_lines('keys')[0]}" in str(raised.value)
    assert "Authorization" not in server.headers[0]


# ── the log of the answers ────────────────────────────────────────────────────────────────────

OLD = json.dumps({"request": "a" * 64, "text": "Good\u2028 \x85", "tokens_in": 9, "tokens_out": 4}, ensure_ascii=False)
BROKEN: dict[str, bytes] = {
    "a list": b"[]\n",
    "no JSON": b"{\n",
    "brackets": b"[" * 100_000 + b"\n",
    "another record": b'{"event": "stage"}\n',
    "a number for text": OLD.replace('"Good\u2028 \x85"', "7").encode() + b"\n",
    "tokens 1e400": OLD.replace("9", "1e400").encode() + b"\n",
    "tokens below zero": OLD.replace("9", "-9").encode() + b"\n",
    "tokens of 5,000 digits": OLD.replace("9", "9" * 5000).encode() + b"\n",
    "no UTF-8": b"\xff\xfe\n",
    "NUL": b"\0" * 100 + b"\n",
    "an empty line": OLD.encode() + b"\n\n" + OLD.encode() + b"\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_log_is_a_message(tmp_path, name):
    run = Run.create(tmp_path / "run", resolve(None, {"data.path": "x.csv", "prompt.price_in": 1.0}))
    (run.path / "endpoint.jsonl").write_bytes(BROKEN[name])
    with pytest.raises(RunError, match=r"endpoint\.jsonl:\d"):
        endpoint(HERS, run.path)
    with pytest.raises(RunError, match=r"endpoint\.jsonl:\d"):
        price(run, 1.0, 1.0)


def test_a_log_without_checksums_is_read_and_goes_on_with_them(server, tmp_path):
    log = tmp_path / "endpoint.jsonl"
    assert endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:2])
    bare = [re.sub(', "crc": "[0-9a-f]{8}"', "", line) for line in log.read_text().split("\n")]
    log.write_text("\n".join(bare) + '{"request": "torn')
    assert endpoint(server.address, tmp_path).predict(FORM, (), ROWS[:3])
    assert len(server.asked) == 3
    assert log.read_text().count('"crc": ') == log.read_text().count("\n") == 3
    assert log.stat().st_mode & 0o777 == 0o600
    for place in range(0, len(log.read_bytes()), 7):
        flipped = bytearray(log.read_bytes())
        flipped[place] ^= 1
        copy = tmp_path / "copy"
        copy.mkdir(exist_ok=True)
        (copy / "endpoint.jsonl").write_bytes(flipped)
        with pytest.raises(RunError):
            endpoint(server.address, copy)


# ── in a run ──────────────────────────────────────────────────────────────────────────────────


def stages(run: Run) -> list[str]:
    """Go on with a run until the server has answered, and return what was told of it."""
    told = []
    for event in story(run):
        if isinstance(event, Stage) and event.name == "untuned":
            told += [str(event.message)] if "big at" in str(event.message) else []
            if len(told) == 2:
                break
    return told


def test_a_run_stops_at_a_refusal_and_its_resume_counts_what_cannot_be_used(
    server, tmp_path, monkeypatch, decoder_folder
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    write_answers(tmp_path / "answers.jsonl")
    settings = {
        "prompt.against": server.address, "prompt.model": "big", "model.name": str(decoder_folder), "evaluate.shots": 1,
        "method.name": "lora", "prompt.nearest": False, "prompt.search": False, "prompt.draws": 1,
    }  # fmt: skip
    run = new_run(tmp_path / "answers.jsonl", tmp_path / "run", settings)
    server.odd, server.behave = "", says("not now", 401)
    with pytest.raises(RunError, match="status 401: not now"):
        stages(run)
    tests = run.read_split().test
    server.odd, server.behave, server.asked = tests[1].text, FAILS["a list"], []
    bare, shown = stages(Run(run.path))
    rule = f"1 of {len(tests)} answers of the server could not be used: it is not a chat completion"
    assert rule in bare and rule in shown and len(server.asked) == 2 * len(tests)
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in "".join(path.read_text(errors="replace") for path in run.path.rglob("*") if path.is_file())
    answers = [one for one in run.read_answers() if "big at" in one.name]
    assert [[p.text for p in one.predictions].count("") for one in answers] == [1, 1]
