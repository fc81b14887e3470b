"""The queue of trainings: order, one at a time, stops, ends of servers and of workers, and the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from children import WARM_PYTHON, _end_with, kamerton, warm_up
from kamerton.core.errors import RunError
from kamerton.core.locks import holder_of, holding
from kamerton.runs.recipe import resolve
from kamerton.runs.run import Run
from kamerton.studio import queue as queues
from kamerton.studio.jobs import Jobs
from kamerton.studio.queue import Queue, QueuedJob
from stories import Place, weights_of

SETTINGS = {
    "method.name": "full", "train.epochs": 12, "train.learning_rate": 3e-3, "evaluate.resamples": 200,
    "evaluate.forgetting": "off",
}  # fmt: skip
PATIENCE = 300


HOLDS_THE_LOCK = """
import pathlib, time
from kamerton.core.locks import holding

with holding(pathlib.Path("runs/a/.lock")), open("noted", "a") as noted:
    print("a", file=noted, flush=True)
    time.sleep(0.5)
    print("a", file=noted)
"""


@dataclass
class Forked:
    """A training in a fork of this process, which has imported everything."""

    pid: int

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start_training(queue: Queue, job: QueuedJob) -> Forked:
    """Start `kamerton resume` as the queue does, in milliseconds."""
    log = queues.studio_folder(queue.workspace, "logs") / queue.log(job.run).name
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(opened, number)
        sys.executable = str(WARM_PYTHON)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        _end_with(lambda: kamerton(["resume", str(queue.run(job.run)), "--language", job.language]))
    return Forked(pid)


def start_script(queue: Queue, job: QueuedJob) -> subprocess.Popen[bytes]:
    """Run what stands in a run's folder instead of a training."""
    script = queue.run(job.run) / "script.sh"
    return subprocess.Popen(["sh", script], cwd=queue.workspace, start_new_session=True)


def fork_worker(queue: Queue) -> None:
    """Start the worker as a fork of this process."""
    if queue.worker is None and not (pid := os.fork()):
        if os.fork():
            os._exit(0)
        os.setsid()
        _end_with(lambda: queues.work(queue))
    elif queue.worker is None:
        os.waitpid(pid, 0)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(Queue, "start_worker", fork_worker)
    monkeypatch.setattr(queues, "_start", start_script)
    monkeypatch.setattr(queues, "POLL", 0.01)
    found = Jobs(tmp_path)
    yield found
    until(lambda: found.queue.worker is None)


def until(happened: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.01)


def scripted(jobs: Jobs, name: str, script: str) -> str:
    """Make a run whose training is a script."""
    Run.create(jobs.workspace / "runs" / name, resolve(None, {"data.path": "rows.csv"}))
    (jobs.workspace / "runs" / name / "script.sh").write_text(script)
    return name


def noted(jobs: Jobs) -> list[str]:
    path = jobs.workspace / "noted"
    return path.read_text().split() if path.exists() else []


def test_trainings_are_carried_out_one_at_a_time_in_their_order(jobs):
    for name in "abcd":
        scripted(jobs, name, f"echo {name} >> noted; sleep 0.2; echo {name} >> noted")
    jobs.enqueue("a")
    until(lambda: noted(jobs))
    for name in "bcd":
        jobs.enqueue(name)
    assert [jobs.state(name) for name in "abcd"] == ["running", "waiting", "waiting", "waiting"]
    assert jobs.waiting() == ["b", "c", "d"]
    jobs.stop("c")
    jobs.start("c")
    assert jobs.waiting() == ["c", "b", "d"]
    until(lambda: jobs.queue.worker is None)
    assert "".join(noted(jobs)) == "aaccbbdd"
    assert set(jobs.states().values()) == {"failed"}  # they ended, and left no result


def test_a_run_is_queued_once_and_an_unknown_one_never(jobs):
    scripted(jobs, "a", "sleep 0.2")
    jobs.enqueue("a")
    with pytest.raises(RunError, match="at work or waits already"):
        jobs.start("a")
    for name in ("b", "../a", "", ".", "..", "a/", "runs/a"):
        with pytest.raises(RunError, match="there is no run"):
            jobs.enqueue(name)


def test_two_servers_start_nothing_twice(jobs):
    for name in "abc":
        scripted(jobs, name, f"echo {name} >> noted; sleep 0.05")
    pids = []
    for name in "abc":
        if not (pid := os.fork()):
            _end_with(lambda name=name: Jobs(jobs.workspace).enqueue(name))
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    until(lambda: len(noted(jobs)) == 3 and jobs.queue.worker is None)
    assert sorted(noted(jobs)) == ["a", "b", "c"]


def test_an_end_is_known_by_its_status(jobs):
    for name, script in {"ended": "exit 1", "stopped": "exit 130", "killed": "kill -9 $$"}.items():
        jobs.enqueue(scripted(jobs, name, script))
    until(lambda: jobs.queue.worker is None)
    assert jobs.states() == {"ended": "failed", "killed": "failed", "stopped": "stopped"}
    assert [jobs.job(name).status for name in jobs.states()] == [1, -9, 130]
    assert jobs.state(scripted(jobs, "new", "")) == "stopped"


def test_what_a_stop_signals_is_the_group_of_the_training(jobs):
    jobs.enqueue(scripted(jobs, "a", "sh -c 'sleep 60; echo late >> noted'"))
    until(lambda: jobs.job("a").at_work and jobs.queue.worker)
    time.sleep(0.1)
    jobs.stop("a")
    until(lambda: jobs.queue.worker is None)
    assert (jobs.state("a"), noted(jobs)) == ("stopped", [])


def test_a_killed_worker_leaves_the_queue_to_the_next_one(jobs):
    """The training goes on; whoever comes next waits for it, and carries out the rest."""
    (jobs.workspace / "work.py").write_text(HOLDS_THE_LOCK)
    jobs.enqueue(scripted(jobs, "a", f"exec {sys.executable} work.py"))
    until(lambda: noted(jobs))
    os.kill(jobs.queue.worker.pid, signal.SIGKILL)
    until(lambda: jobs.queue.worker is None)
    assert jobs.state("a") == "running"
    jobs.enqueue(scripted(jobs, "b", "echo b >> noted"))
    until(lambda: jobs.queue.worker is None)
    assert noted(jobs) == ["a", "a", "b"]
    assert (jobs.job("a").status, jobs.state("a"), jobs.state("b")) == (None, "stopped", "failed")


def test_a_queue_goes_on_after_the_machine_was_switched_off(jobs):
    for name in "ab":
        scripted(jobs, name, f"echo {name} >> noted")
    with jobs.queue.changing() as waiting:
        waiting |= {"a": QueuedJob("a", pid=1, began=1.0), "b": QueuedJob("b")}
    jobs.go_on()
    until(lambda: noted(jobs) and jobs.queue.worker is None)
    assert (noted(jobs), jobs.state("a")) == (["b"], "stopped")


def test_a_run_that_is_deleted_under_way_does_not_end_the_queue(jobs):
    jobs.enqueue(scripted(jobs, "a", "rm -r runs/a; echo a >> noted; sleep 0.3"))
    until(lambda: noted(jobs))
    jobs.enqueue(scripted(jobs, "b", "echo b >> noted"))
    until(lambda: jobs.queue.worker is None)
    assert (noted(jobs), list(jobs.states())) == (["a", "b"], ["b"])


def test_a_damaged_queue_is_named(jobs):
    scripted(jobs, "a", "")
    with jobs.queue.changing():
        pass
    (jobs.queue.folder / "queue.json").write_text('{"jobs": [{"strange": 1}]}')
    with pytest.raises(RunError, match=r"queue\.json"):
        jobs.enqueue("a")


# ── real trainings ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def training(jobs: Jobs, place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    monkeypatch.setattr(queues, "_start", start_training)
    monkeypatch.setenv("KAMERTON_WARM_PYTHON", sys.executable)
    monkeypatch.setenv("KAMERTON_WARM_SOCKET", str(place.nursery.folder / "s"))
    warm_up()

    def make(name: str) -> str:
        flags = {"data.path": str(place.folder / "reviews.csv"), "model.name": str(place.folder / "encoder")}
        Run.create(jobs.workspace / "runs" / name, resolve(None, {**flags, **SETTINGS}))
        return name

    return make


def test_a_run_started_here_is_the_run_of_the_command_line(jobs, training, place):
    """One begun on the command line, stopped and resumed here, and one that is carried out here: the same bits."""
    folder = jobs.workspace / "runs"
    flags = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    child = place.start("tune", "reviews.csv", "--model", "encoder", *flags, "--out", folder / "b")
    stop_in_training(jobs, "b")
    assert child.wait().status == 130
    assert jobs.state("b") == "stopped"
    jobs.enqueue("b", "ru")
    jobs.enqueue(training("a"))
    until(lambda: jobs.queue.worker is None)
    assert jobs.states() == {"a": "done", "b": "done"}
    assert jobs.job("b").ended <= jobs.job("a").began
    assert weights_of(folder / "a") == weights_of(folder / "b")
    assert (folder / "b" / "report.ru.html").exists()
    assert "NOT" in jobs.log("a").read_text()
    assert jobs.log("a").stat().st_mode & 0o777 == 0o600


def stop_in_training(jobs: Jobs, name: str) -> None:
    log = jobs.workspace / "runs" / name / "events.jsonl"
    until(lambda: log.exists() and b"stepped" in log.read_bytes())
    assert jobs.state(name) == "running"
    jobs.stop(name)


# ── locks ─────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_names_who_holds_it_and_nobody_else(tmp_path):
    lock = tmp_path / "lock"
    assert holder_of(lock) is None
    with holding(lock) as mine, holding(lock) as again:
        assert (mine, again) == (True, False)
        assert (holder_of(lock).pid, holder_of(lock).is_here) == (os.getpid(), True)
    assert holder_of(lock) is None
    for record in ("", "1", "x y", "999999999999999999999 here", f"{os.getpid()} {holder_name()}"):
        lock.write_text(record)  # of a process that was killed, whose number another one has now
        assert holder_of(lock) is None


def holder_name() -> str:
    return os.uname().nodename
