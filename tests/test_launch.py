"""`kamerton launch`: what the ranks get, who has the terminal, and how the end of one is the end of all, told once."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from children import Child
from stories import DONE, INTERRUPTED, MISTAKE, UNMET, USAGE, wait_for

GOES_ON = "`kamerton launch 2 -- resume runs/x` goes on"
SOON = 30
"""Seconds in which all must be over."""


@pytest.fixture
def start(nursery, tmp_path):
    """Start `kamerton launch` with the program of ranks.py in an empty folder."""

    nursery.run("os:getpid", cwd=tmp_path)  # so that no test counts its start

    def start(processes: int, word: str, *place: object) -> Child:
        return nursery.start("ranks:launch", processes, word, *place, cwd=tmp_path)

    return start


def logs_of(said: str) -> Path:
    """Return the folder of the ranks' output that a report names."""
    [folder] = [word for line in said.splitlines() for word in line.split() if "kamerton-launch-" in word]
    return Path(folder.rstrip(":"))


def both_wait(folder: Path) -> Callable[[], bool]:
    """Return what says whether both ranks are at work."""
    return lambda: len(list(folder.glob("waiting-*"))) == 2


def test_each_rank_finds_its_place_and_rank_0_alone_has_the_terminal(start, tmp_path):
    ended = start(2, "01-show").wait()
    assert (ended.status, ended.out, ended.err) == (DONE, "said by rank 0\n", "")
    shown = {path.name: path.read_text() for path in tmp_path.glob("*-*")}
    assert shown == {
        "0-RANK": "0", "0-WORLD_SIZE": "2", "0-LOCAL_RANK": "0", "0-LOCAL_WORLD_SIZE": "2", "0-OMP_NUM_THREADS": "1",
        "1-RANK": "1", "1-WORLD_SIZE": "2", "1-LOCAL_RANK": "1", "1-LOCAL_WORLD_SIZE": "2", "1-OMP_NUM_THREADS": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "status", "told"),
    [
        ("1-crash", MISTAKE, "ZeroDivisionError: of rank 1"),
        ("0-crash", MISTAKE, "ZeroDivisionError: of rank 0"),
        ("01-crash", MISTAKE, "ZeroDivisionError: of rank"),
        ("01-lost", MISTAKE, "ZeroDivisionError: of rank 1"),
        ("1-mistake", MISTAKE, "a mistake that rank 1 found"),
        ("1-abort", 128 + signal.SIGABRT, "a library's last words"),
    ],
)
def test_a_rank_that_fails_ends_all_and_is_told_once_with_the_way_on(start, word, status, told):
    began = time.monotonic()
    ended = start(2, word).wait()
    assert time.monotonic() - began < SOON
    assert (ended.status, ended.err.count(told), ended.err.count(GOES_ON)) == (status, 1, 1), ended.said
    assert ended.err.count("\nkamerton: ") == 1 and "another rank has ended" not in ended.err
    kept = [log.read_text() for log in logs_of(ended.err).rglob("stdout.log")]
    assert kept == ["said by rank 1\n"] or "0" in word  # whose end may come before rank 1 says anything


def test_a_users_mistake_that_rank_0_finds_is_told_alone(start):
    ended = start(2, "0-mistake").wait()
    assert (ended.status, ended.err) == (MISTAKE, "kamerton: a mistake that rank 0 found\n")
    ended = start(2, "0-unmet").wait()
    assert (ended.status, ended.err) == (UNMET, "")


def test_a_killed_rank_is_named_with_its_signal(start, tmp_path):
    child = start(2, "save")
    wait_for(child, both_wait(tmp_path))
    [pid] = [pid for pid in ranks_of(child.pid) if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(pid, signal.SIGKILL)
    ended = child.wait()
    assert (ended.status, "rank 1 was ended by SIGKILL" in ended.err, GOES_ON in ended.err) == (137, True, True)


def ranks_of(pid: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def test_one_interrupt_lets_rank_0_save_what_it_has(start, tmp_path):
    child = start(2, "save")
    wait_for(child, both_wait(tmp_path))
    child.kill(signal.SIGTERM, group=False)
    ended = child.wait()
    assert (ended.status, {path.name for path in tmp_path.glob("saved-*")}) == (INTERRUPTED, {"saved-0", "saved-1"})
    assert ended.err == f"kamerton: stopped; what was done is kept, {GOES_ON}\n"


def test_a_second_interrupt_ends_all_at_once(start, tmp_path):
    child = start(2, "stubborn")
    wait_for(child, both_wait(tmp_path))
    pids = ranks_of(child.pid)
    child.kill(signal.SIGINT, group=False)
    time.sleep(1.1)  # signals within a second are one
    child.kill(signal.SIGINT, group=False)
    assert child.wait().status == INTERRUPTED
    assert not any(Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


def test_two_machines_meet_and_count_their_ranks_through(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    other, first = start(1, "01-show", 1, meeting), start(1, "01-show", 0, meeting)
    assert [(child.wait().status, child.out.read_text()) for child in (first, other)] == [
        (DONE, "said by rank 0\n"),
        (DONE, ""),
    ]
    assert (tmp_path / "1-WORLD_SIZE").read_text() == "2"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("2", "--", "audit", "reviews.csv"), "'audit' cannot be launched; tune, resume can"),
        (("2", "--", "tune", "reviews.csv", "--sed", "1"), "No such option: --sed"),
        (("2", "--nodes", "2", "--", "resume", "x"), "HOST:PORT"),
        (("2", "--node-rank", "1", "--", "resume", "x"), "the last of 1 machines is 0"),
    ],
)
def test_wrong_usage_is_told_before_anything_starts(place, words, told):
    ended = place.call("launch", *words)
    assert (ended.status, ended.err.count(told)) == (USAGE, 1), ended.said
