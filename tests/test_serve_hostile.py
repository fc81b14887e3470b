"""A server under attack goes on answering; the whole of this is `make bench-serve`."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hostile_requests import Attacker, carry_out, request
from serving import Server
from stories import DONE, Place

ATTACKS = 400
OF_OURS = range(500, 600)


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    place.run("head")
    place.run("answers")
    server = Server.start(place, "head", "answers", "--timeout", "30")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent:
        silent.sendall(b"POST /v1/classify HTTP/1.1\r\nHost:")
        yield server
        assert silent.recv(1) == b""  # closed by the server, since no request came
    ended = server.stop()
    assert ended.status == DONE, ended.said
    assert "Traceback" not in ended.said and not server.logged("error")


def test_nothing_that_is_sent_stops_it(server: Server):
    attacker = Attacker(0, "answers", "head")
    attacks = [attacker.draw() for _ in range(ATTACKS)]
    right = {"model": "head", "input": "a warm film"}
    wanted = server.post("/v1/classify", right).json()["data"][0]["label"]

    def one(at: int) -> int:
        if at % 20 == 0:
            answer = server.post("/v1/classify", right)
            assert answer.status_code in (200, 429)  # under attack, the queue may be full
            assert answer.status_code == 429 or answer.json()["data"][0]["label"] == wanted
        return carry_out(attacks[at], server.port)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(one, range(ATTACKS)))
    assert [(attacks[at].data[:200], status) for at, status in enumerate(statuses) if status in OF_OURS] == []
    assert {200, 400, 403, 404, 413, 421} <= set(statuses)
    assert server.post("/v1/classify", right).json()["data"][0]["label"] == wanted


def test_many_connections_at_once_and_silent_ones_shut_nobody_out(server: Server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for at, connection in enumerate(idle):
        connection.sendall(request("/v1/classify", b"x" * at, "Content-Length: 1000"))
    began = time.monotonic()
    assert server.get("/health").status_code == 200
    body = json.dumps({"model": "head", "input": "a warm film"}).encode()
    data = request("/v1/classify", body)
    busy = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for connection in busy:
        connection.sendall(data)
    assert all(connection.makefile("rb").readline().split()[1] in (b"200", b"429") for connection in busy)
    assert time.monotonic() - began < 20
    for connection in (*idle, *busy):
        connection.close()


def test_pages_of_others_and_names_of_others_are_refused(server: Server):
    body = {"model": "head", "input": "a"}
    own = server.address.removeprefix("http://")
    assert server.post("/v1/classify", body, Origin=server.address).status_code == 200
    assert server.post("/v1/classify", body, Origin="http://evil.example").status_code == 403
    assert server.post("/v1/classify", body, Origin="null").status_code == 403
    assert server.post("/v1/classify", body, Host="evil.example").status_code == 421
    assert server.post("/v1/classify", body, Host=own.replace("127.0.0.1", "localhost")).status_code == 200
    answer = server.post("/v1/classify", body, **{"Content-Type": "text/plain"})
    assert answer.status_code == 415 and "access-control-allow-origin" not in answer.headers
