"""Train eight seeds of a small model in order, in processes and on Ray: are results equal, and what do workers gain?

Run by `make bench-ray`. Every way trains the same eight seeds of copies of one run, in turns, so that other work on the
machine meets all of them; the fastest of the rounds counts. Start-up of workers is a part of the time.

Where other work keeps the cores busy, two workers get no more of them than one (Linux shares cores between sessions),
and the clock shows no gain. So the CPU seconds of processes are printed, too: divided by the workers, they are the time
on cores of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "KAMERTON_DEVICE": "cpu",
    "TOKENIZERS_PARALLELISM": "false",
}
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kamerton.core.pieces import Workers, choose_workers
from kamerton.core.records import Stage
from kamerton.pipeline.proof import repeat_with_seeds
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, open_setup
from kamerton.tune import story
from stories import reviews
from tiny_models import tiny_encoder

SEEDS = 8
HERE = "here"
WAYS = (HERE, "processes:1", "processes:2", "ray:1", "ray:2")
GAINS = (("processes:1", "processes:2"), ("ray:1", "ray:2"))
MUST = 1.6


def trained_once(folder: Path, rows: int, epochs: float) -> Path:
    """Make a run that has everything but its other seeds."""
    lines = [f'"{text}",{label}' for text, label in reviews(rows)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    model = tiny_encoder(folder / "encoder")
    settings = {
        "model.name": str(model), "method.name": "full", "train.epochs": epochs, "train.learning_rate": 3e-3,
        "train.patience": 1000, "seeds": SEEDS + 1, "evaluate.forgetting": "off", "prompt.search": False,
    }  # fmt: skip
    run = new_run(folder / "reviews.csv", folder / "run", settings)
    for event in story(run):
        if isinstance(event, Stage) and event.name == "artefact":
            break
    return run.path


def timed(run: Run, workers: Workers) -> tuple[float, float]:
    """Return the seconds on the clock, and those of the CPU that processes took; Ray's are not this one's children."""
    began, before = time.perf_counter(), cpu_seconds()
    with workers:
        for _ in repeat_with_seeds(run, open_setup(run), Clock(run), workers):
            pass
    return time.perf_counter() - began, cpu_seconds() - before


def cpu_seconds() -> float:
    """Return the CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def found_by(run: Run) -> str:
    """Hash the weights and the answers of all seeds."""
    hashed = hashlib.sha256()
    for again in run.repeats:
        for file in sorted(again.model.glob("*.safetensors")):
            hashed.update(file.read_bytes())
        hashed.update(repr([one.predictions for one in again.read_answers()]).encode())
    return hashed.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=WAYS)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in options.ways}
    cpus: dict[str, list[float]] = {way: [] for way in options.ways}
    with tempfile.TemporaryDirectory(prefix="kw-") as name:
        first = trained_once(Path(name), options.rows, options.epochs)
        results = set()
        for number in range(options.rounds):
            for way in options.ways:
                copy = Path(name) / f"{number}-{way}"
                shutil.copytree(first, copy)
                run = Run(copy)
                with run.locked():
                    clock, cpu = timed(run, choose_workers(None if way == HERE else way))
                seconds[way].append(clock)
                cpus[way].append(cpu)
                results.add(found_by(run))
                load = os.getloadavg()[0]
                print(
                    f"round {number + 1}: {way} {clock:.1f} s, CPU of children {cpu:.1f} s, load {load:.1f}", flush=True
                )
                shutil.rmtree(copy)
    print(f"\n{SEEDS} seeds, weights and answers {'equal, bit for bit' if len(results) == 1 else 'DIFFER'}\n")
    print("| way | seconds, each round | fastest | CPU seconds of processes, least |\n|---|---|---|---|")
    for way, each in seconds.items():
        cpu = f"{min(cpus[way]):.1f}" if way.startswith("processes") else "–"
        print(f"| {way} | {', '.join(f'{one:.1f}' for one in each)} | {min(each):.1f} | {cpu} |")
    pairs = [pair for pair in GAINS if seconds.keys() >= set(pair)]
    gains = [(one, two, min(seconds[one]) / min(seconds[two])) for one, two in pairs]
    print()
    for one, two, gain in gains:
        print(f"{two} takes {gain:.2f} times less than {one} (must: {MUST})")
        if two.startswith("processes"):
            print(f"on cores of their own, by CPU seconds: {2 * min(cpus[one]) / min(cpus[two]):.2f} times less")
    return int(len(results) > 1 or any(gain < MUST for _, _, gain in gains))


if __name__ == "__main__":
    sys.exit(main())
