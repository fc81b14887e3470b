"""Kamerton beside its peers: the same work, round by round in one go, in fresh processes; written into docs/speed.md.

python benchmarks/peers/bench.py [--only W1,W3] [--pairs 5] [--updates 8] [--again]

Rounds that are there already under runs/bench are kept, so that a benchmark which was stopped goes on. With
--updates only so many updates are made, and the figures are printed, not kept: to see what a change does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from rounds import (
    HERE,
    OURS,
    ROOT,
    Canary,
    Result,
    Round,
    read_rounds,
    run_process,
    run_quietly,
    run_round,
    write_rounds,
)
from workloads import WORKLOADS, Workload

BENCH = ROOT / "runs" / "bench"


def prepared(workload: Workload, seed: int, updates: int) -> Path:
    """Give the folder of a job, drawn up first where it is missing or the workload has changed."""
    definition = hashlib.sha256(repr((workload.model, workload.data, sorted(workload.settings.items()))).encode())
    folder = BENCH / "jobs" / f"{workload.name}-{seed}-{updates or 'all'}-{definition.hexdigest()[:8]}"
    if not (folder / "job.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, str(HERE / "prepare.py"), workload.name, str(seed), str(updates), str(folder)]
        subprocess.run(command, check=True)
    return folder


def one_round(workload: Workload, number: int, updates: int, canary: Canary, retries: int) -> Round:
    """Run one round of a workload."""
    seed = number % workload.seeds
    folder = prepared(workload, seed, updates)

    def run(side: str) -> Result:
        script = workload.script if side == OURS else side
        result = run_process(script, folder, BENCH / "work", workload.touch)
        print(f"  {side}: {told(result)}", flush=True)
        return result

    scripts = [peer.script for peer in workload.peers]
    return run_quietly(partial(run_round, number, scripts, canary, seed, run), retries)


def told(result: Result) -> str:
    """Say in a line what a process did."""
    loss = f"loss {result.losses[0]:.6f} to {result.losses[-1]:.6f}, " if result.losses else ""
    seconds = f"training {result.training:.2f} s, first update after {result.first:.2f} s, whole {result.whole:.2f} s"
    return f"{seconds}, {loss}test {result.test_loss:.5f} {result.test_accuracy}, {result.peak_bytes / 1e9:.2f} GB"


def main() -> None:
    """Run what is asked for and draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, by name")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each workload")
    parser.add_argument("--updates", type=int, default=0, help="make only so many updates, and keep nothing")
    parser.add_argument("--retries", type=int, default=1, help="how often a round that was disturbed is repeated")
    parser.add_argument("--again", action="store_true", help="forget the rounds that are there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "speed.md")
    arguments = parser.parse_args()
    canary = Canary(BENCH / "canary.json")
    for name in arguments.only.split(","):
        workload, path = WORKLOADS[name], BENCH / f"{name}.json"
        rounds = [] if arguments.again or arguments.updates else read_rounds(path)
        for number in range(len(rounds), arguments.pairs):
            print(f"{name} round {number + 1}: {workload.title}", flush=True)
            rounds.append(one_round(workload, number, arguments.updates, canary, arguments.retries))
            show(workload, rounds[-1])
            if not arguments.updates:
                write_rounds(path, rounds)


def show(workload: Workload, one: Round) -> None:
    """Print a round's ratios."""
    for peer in workload.peers:
        training, whole = (one.ratio(peer.script, what) for what in ("training", "whole"))
        print(f"  {peer.title}: training {training:.2f}x, whole {whole:.2f}x; canary {json.dumps(one.canaries)}")


if __name__ == "__main__":
    main()
