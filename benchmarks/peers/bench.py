"""Kamerton beside its peers: the same work, round by round in one go, in fresh processes; written into docs/speed.md.

python benchmarks/peers/bench.py [--only W1,W3,W7] [--pairs 5] [--rows 100] [--updates 8] [--seconds 280] [--again]
python benchmarks/peers/bench.py --growth [--only W1,W3]

Rounds that are there already under runs/bench are kept, so that a benchmark which was stopped goes on. With
--updates only so many updates are made, and the figures are printed, not kept: to see what a change does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import transformers
from page import Machine, Page, page
from protocol import Result, Work
from rounds import (
    HERE,
    OURS,
    ROOT,
    Canary,
    Record,
    Round,
    read_record,
    run_process,
    run_quietly,
    run_round,
    write_record,
)
from startup import started
from workloads import REVIEWS, WORKLOADS, Workload

BENCH = ROOT / "runs" / "bench"
WORK = BENCH / f"work-{os.getpid()}"
START = "W7"
GROWS = {"W1": 250, "W3": 20}
"""Workloads that are run on more and more data, and the rows to begin with."""
SIZES = (1, 2, 4, 8, 16, 32)


def prepared(workload: Workload, seed: int, rows: int, updates: int = 0) -> Path:
    """Give the folder of a job, drawn up first where it is missing or the workload has changed."""
    definition = repr((workload.model, workload.data, sorted(workload.settings.items()), workload.shots))
    stamp = hashlib.sha256(definition.encode()).hexdigest()[:8]
    folder = BENCH / "jobs" / f"{workload.name}-{seed}-{rows}-{updates or 'all'}-{stamp}"
    if not (folder / "job.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        arguments = [workload.name, str(seed), str(rows), str(updates), str(folder)]
        subprocess.run([sys.executable, str(HERE / "prepare.py"), *arguments], check=True)
    return folder


def one_round(workload: Workload, number: int, rows: int, updates: int, canary: Canary, retries: int) -> Round:
    """Run one round of a workload."""
    seed = number % workload.seeds
    folder = prepared(workload, seed, rows, updates)

    def run(side: str) -> Result:
        script = workload.script if side == OURS else side
        result = run_process(script, folder, WORK, workload.touch)
        print(f"  {side}: {told(result)}", flush=True)
        return result

    scripts = [peer.script for peer in workload.peers]
    return run_quietly(partial(run_round, number, scripts, canary, seed, run), retries)


def told(result: Result) -> str:
    """Say in a line what a process did."""
    loss = f"loss {result.losses[0]:.6f} to {result.losses[-1]:.6f}, " if result.losses else ""
    seconds = f"training {result.training:.2f} s, first update after {result.first:.2f} s, whole {result.whole:.2f} s"
    return f"{seconds}, {loss}test {result.test_loss:.5f} {result.test_accuracy}, {result.peak_bytes / 1e9:.2f} GB"


def show(workload: Workload, one: Round) -> None:
    """Print a round's ratios."""
    for peer in workload.peers:
        trains = all(one.results[side].steady for side in (OURS, peer.script))
        kinds = ("training", "steady", "whole") if trains else ("training", "whole")
        told = ", ".join(f"{what} {one.ratio(peer.script, what):.2f}x" for what in kinds)
        canaries = " ".join(f"{value:.0f}" for value in one.canaries)
        print(f"  {peer.title}: {told}; canary {canaries}", flush=True)


class Budget:
    """How much time is left: a round that would not fit any more is left to the next call."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds if seconds else math.inf
        self.began = time.monotonic()
        self.longest = 0.0

    def allows(self, name: str) -> bool:
        """Say whether one more round fits, as long as the longest so far."""
        now = time.monotonic()
        self.longest, self.began = max(self.longest, now - self.began), now
        if fits := now + self.longest <= self.end:
            return fits
        print(f"{name}: the rest is for the next call", flush=True)
        return False

    def renew(self) -> None:
        """Begin with another workload, whose rounds are not known yet."""
        self.began, self.longest = time.monotonic(), 0.0


def compare(
    workload: Workload, pairs: int, rows: int, updates: int, retries: int, canary: Canary, budget: Budget
) -> None:
    """Run a workload's rounds as far as they are missing."""
    path = BENCH / f"{workload.name}.json"
    rows = rows or workload.data.rows
    made = updates or workload.updates
    record = None if updates else read_record(path)
    rounds = list(record.rounds) if record and record.rows == rows else []
    budget.renew()
    for number in range(len(rounds), pairs):
        if not budget.allows(workload.name):
            return
        print(f"{workload.name} round {number + 1}: {workload.title}", flush=True)
        rounds.append(one_round(workload, number, rows, made, canary, retries))
        show(workload, rounds[-1])
        if not updates:
            work = Work(**json.loads((prepared(workload, 0, rows, made) / "work.json").read_text(encoding="utf-8")))
            write_record(path, Record(rows, work, tuple(rounds)))


def start(pairs: int) -> None:
    """Time the start-up as often as it is missing."""
    rounds = read_list(BENCH / f"{START}.json")
    data = BENCH / "data" / REVIEWS.file
    for _ in range(len(rounds), pairs):
        rounds.append(started(data, BENCH / "started"))
        print(f"{START}: {rounds[-1]}", flush=True)
        (BENCH / f"{START}.json").write_text(json.dumps(rounds), encoding="utf-8")


def grow(workload: Workload, canary: Canary) -> None:
    """Run Kamerton's side on more and more rows, as far as they are missing."""
    path = BENCH / f"growth-{workload.name}.json"
    sizes = read_list(path)
    for size in SIZES[len(sizes) :]:
        folder = prepared(workload, 0, size * GROWS[workload.name])
        values = json.loads((folder / "work.json").read_text(encoding="utf-8"))
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        print(f"{workload.name} {size}x; canary {canary.sing():.0f}", flush=True)
        result = run_process(workload.script, folder, WORK, workload.touch)
        print(f"  {told(result)}", flush=True)
        measured = {"seconds": result.training, "peak_bytes": result.peak_bytes}
        sizes.append({"rows": len(job["train"]), "tokens": values["tokens"], **measured})
        path.write_text(json.dumps(sizes), encoding="utf-8")


def read_list(path: Path) -> list[Mapping[str, float]]:
    """Read a list, empty if it is not there."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def machine(canary: Canary) -> Machine:
    """Say where this is measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return Machine(processor, os.cpu_count() or 1, versions, canary.best)


def draw(out: Path, canary: Canary) -> None:
    """Write the page from what is there; what was measured earlier on such a machine stays on it."""
    found = {name: read_record(BENCH / f"{name}.json") for name in WORKLOADS}
    records = {name: record for name, record in found.items() if record}
    growth = {name: sizes for name in GROWS if (sizes := read_list(BENCH / f"growth-{name}.json"))}
    before = Page(out.read_text(encoding="utf-8") if out.exists() else "")
    drawn = page(records, read_list(BENCH / f"{START}.json"), growth, machine(canary), before)
    out.write_text(drawn, encoding="utf-8")
    print(f"written: {out}", flush=True)


def main() -> None:
    """Run what is asked for and draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="workloads, by name")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each workload")
    parser.add_argument("--rows", type=int, default=0, help="rows of data, instead of each workload's own number")
    parser.add_argument("--updates", type=int, default=0, help="make only so many updates, and keep nothing")
    parser.add_argument("--retries", type=int, default=1, help="how often a round that was disturbed is repeated")
    parser.add_argument("--seconds", type=float, default=0, help="begin no round that would end later than this")
    parser.add_argument("--again", action="store_true", help="forget what is there")
    parser.add_argument("--growth", action="store_true", help="see how time and memory grow with the data")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "speed.md")
    given = parser.parse_args()
    canary, budget = Canary(BENCH / "canary.json"), Budget(given.seconds)
    before = Page(given.out.read_text(encoding="utf-8") if given.out.exists() else "")
    if before.measured_on(machine(canary)):
        canary.know(before.peaks())
    every = GROWS if given.growth else (*WORKLOADS, START)
    for name in given.only.split(",") if given.only else every:
        if given.again and not given.updates:
            (BENCH / (f"growth-{name}.json" if given.growth else f"{name}.json")).unlink(missing_ok=True)
        if given.growth:
            grow(WORKLOADS[name], canary)
        elif name == START:
            start(given.pairs)
        else:
            compare(WORKLOADS[name], given.pairs, given.rows, given.updates, given.retries, canary, budget)
        if not given.updates:
            draw(given.out, canary)


if __name__ == "__main__":
    main()
