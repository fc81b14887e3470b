"""Rounds: all sides one after the other in fresh processes, with a look at how busy the machine is in between."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from protocol import Result, Work, read_job, write

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
OURS = "ours"
QUIET = 0.85
"""Share of the best speed ever seen of a matrix product, below which the machine is busy."""
LIMIT = 1800
"""Seconds after which a process is given up."""
PRODUCT = (2048, 576, 1536)
"""Rows, inputs and outputs of the product that is timed: of the size of these models'."""


@dataclass(frozen=True)
class Round:
    """One round: who was when, how fast the machine was around each, and what came of it."""

    seed: int
    order: tuple[str, ...]
    canaries: tuple[float, ...]
    """GFLOP/s of a matrix product before the first process and after each."""
    best: float
    """The best ever seen when the round was run."""
    results: Mapping[str, Result]

    @property
    def busy(self) -> bool:
        """Say whether something else was at work on the machine."""
        return not quiet(self.canaries, self.best)

    def ratio(self, peer: str, what: str) -> float:
        """Say how many times as long a peer took for `training`, `steady` updates or the `whole`."""
        sides = asdict(self.results[peer]), asdict(self.results[OURS])
        return float(sides[0][what] / sides[1][what])


def quiet(canaries: Sequence[float], best: float) -> bool:
    """Say whether the machine was as fast as it can be all the time."""
    return min(canaries) >= QUIET * best


def order_of(number: int, peers: Sequence[str]) -> tuple[str, ...]:
    """Alternate who begins: peers and then we, we and then the peers in turn."""
    return (*peers, OURS) if number % 2 == 0 else (OURS, *reversed(peers))


class Canary:
    """A matrix product whose speed shows whether the machine is busy; the best ever seen is kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def know(self, best: Mapping[str, float]) -> None:
        """Hear how fast products were on this machine at another time, whose file is gone."""
        self.best = {name: max(value, self.best.get(name, 0.0)) for name, value in best.items()}

    def sing(self) -> float:
        """Time products of both precisions; give the GFLOP/s in fp32."""
        now = {name: speed(kind) for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
        self.best = {name: max(value, self.best.get(name, 0.0)) for name, value in now.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.best))
        return now["fp32"]


def speed(kind: torch.dtype, times: int = 15) -> float:
    """Give the median GFLOP/s of a product."""
    rows, inputs, outputs = PRODUCT
    one, other = torch.ones(rows, inputs, dtype=kind), torch.ones(inputs, outputs, dtype=kind)
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - began)
    return 2e-9 * rows * inputs * outputs / statistics.median(seconds)


def touch(gigabytes: float) -> None:
    """Touch memory and give it back, so that the next process finds pages that the machine has at hand."""
    size = min(int(gigabytes * 1e9), available() // 2)
    with mmap.mmap(-1, size) as pages:
        for start in range(0, size, mmap.PAGESIZE):
            pages[start] = 1


def available() -> int:
    """Read how much memory is free, in bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def run_round(number: int, peers: Sequence[str], canary: Canary, seed: int, run: Callable[[str], Result]) -> Round:
    """Run every side once."""
    order = order_of(number, peers)
    canaries, results = [canary.sing()], {}
    for side in order:
        results[side] = run(side)
        canaries.append(canary.sing())
    return Round(seed, order, tuple(canaries), canary.best["fp32"], results)


def run_quietly(attempt: Callable[[], Round], retries: int) -> Round:
    """Repeat a round that was disturbed; keep the last one, which says so itself, if all were."""
    for _ in range(retries):
        done = attempt()
        if not done.busy:
            return done
        print("  the machine was busy: once more", flush=True)
    return attempt()


def run_process(script: str, job_folder: Path, work: Path, gigabytes: float) -> Result:
    """Run one side in a fresh process, on a fresh copy of the run folder.

    Raises:
        RuntimeError: the process failed; its last words are in the message.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    job = replace(read_job(job_folder / "job.json"), run=str(work / "run"))
    shutil.copytree(job_folder / "run", work / "run")
    write(work / "job.json", job)
    ours = script.startswith(OURS)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    touch(gigabytes)
    started = time.monotonic()
    python = sys.executable if ours else str(PEERS)
    command = [python, str(HERE / f"{script}.py"), str(work / "job.json"), str(work / "result.json"), str(started)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    whole = time.monotonic() - started
    if ended.returncode:
        raise RuntimeError(f"{script} failed:\n{ended.stderr[-3000:]}")
    result = Result(**json.loads((work / "result.json").read_text(encoding="utf-8")))
    shutil.rmtree(work)
    return replace(result, whole=whole)


@dataclass(frozen=True)
class Record:
    """All rounds of a workload."""

    rows: int
    work: Work
    rounds: tuple[Round, ...]


def read_record(path: Path) -> Record | None:
    """Read the rounds of a workload; None if there are none."""
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return Record(values["rows"], Work(**values["work"]), tuple(_round(one) for one in values["rounds"]))


def write_record(path: Path, record: Record) -> None:
    """Write the rounds of a workload."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record)), encoding="utf-8")


def _round(values: dict) -> Round:
    results = {side: Result(**result) for side, result in values["results"].items()}
    return Round(values["seed"], tuple(values["order"]), tuple(values["canaries"]), values["best"], results)
