"""Read thousands of broken data files: no traceback, no hang, no memory without bounds, and every row accounted for.

    python benchmarks/fuzz_reading.py [--files 10000] [--seed 0]

Files are made from the seed (tests/broken_files.py) and go through reading, recognition and the making of examples, as
in `kamerton audit`, in a process that is watched: one that works longer than 5 seconds on a file is ended and counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from broken_files import BrokenFile, broken_files
from kamerton.core import registry
from kamerton.core.errors import KamertonError
from kamerton.data.mixed import unified
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize

SECONDS = 5
FACTOR, FREE_MB = 4, 200
BATCH = 500
"""Files that one process reads: the peak of its memory is looked at after each."""


def outcome_of(path: Path) -> str:
    """Read one file as `kamerton audit` does; say how it ended."""
    try:
        table = read_table(path)
    except KamertonError as error:
        told = all(fault.rule and fault.place and fault.remedy for fault in error.faults)
        return "refused" if told and error.faults else "refused without rule, place or remedy"
    ids = sorted([row.id for row in table.rows] + [entry.id for entry in table.rejected])
    if ids != list(range(table.rows_read)):
        return "accepted and rejected rows are not the rows read"
    try:
        table = unified(table, None, {})
        recognition = recognize(table, None, {})
        made = make_examples(table, recognition, registry.choose("tasks", recognition.task)())
    except KamertonError:
        return "read, not recognized"
    whole = len(made.examples) + len(made.rejected) == len(table.rows)
    return "read and recognized" if whole else "examples and rejected rows are not the rows"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_all(files: list[BrokenFile], folder: Path) -> None:
    """Read files in this process, and print what came of each. The timer's signal ends the process."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for word in registry.names("tasks"):
        registry.choose("tasks", word)  # the first file does not wait for it
    for file in files:
        path = folder / file.name
        path.write_bytes(file.content)
        before = peak_mb()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome = outcome_of(path)
        except Exception:  # noqa: BLE001 - what is looked for
            outcome = "traceback: " + traceback.format_exc().strip().splitlines()[-1]
        signal.setitimer(signal.ITIMER_PROF, 0)
        if peak_mb() - before > FACTOR * len(file.content) / (1 << 20) + FREE_MB:
            outcome = f"{peak_mb() - before:.0f} MB for {len(file.content)} bytes"
        path.unlink()
        print(json.dumps([file.name, outcome]), flush=True)


def watched(seed: int, start: int, end: int) -> list[tuple[str, str]]:
    """Let a process read the files from `start` to `end`; one that is ended is a hang, and another goes on."""
    found: list[tuple[str, str]] = []
    while start + len(found) < end:
        command = [sys.executable, __file__, "--worker", str(seed), str(start + len(found)), str(end)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found += [tuple(json.loads(line)) for line in done.stdout.splitlines()]
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["without a word"]
            found.append((f"file {start + len(found)}", f"hang or crash: {reason[0]}"))
    return found


GOOD = ("refused", "read, not recognized", "read and recognized")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        seed, start, end = arguments.worker
        with tempfile.TemporaryDirectory() as folder:
            read_all(list(islice(broken_files(seed, end), start, end)), Path(folder))
        return
    began, counts, bad = time.perf_counter(), Counter[str](), 0
    for number in range(0, arguments.files, BATCH):
        # every batch has a seed of its own: its files are made without making all before them
        size = min(BATCH, arguments.files - number)
        for name, outcome in watched(arguments.seed * 1_000_000 + number, 0, size):
            counts[outcome if outcome in GOOD else "FAULT"] += 1
            if outcome not in GOOD:
                bad += 1
                print(f"seed {arguments.seed * 1_000_000 + number}, {name}: {outcome}")
        done = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        print(f"{number + size} files, {time.perf_counter() - began:.0f} s: {done}", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
