"""Seconds and memory of looking through tables of 10,000, 100,000 and 1,000,000 short rows.

    python benchmarks/data_at_size.py [--rows 10000,100000,1000000] [--model minilm]

Rows are made from a seed: 14 words each, of a vocabulary that is used as unevenly as a language's; 1% repeat an earlier
row, 1% repeat it in capitals, 1% with a word exchanged. Each size is read and looked through in a process of its own,
as `kamerton audit` does: what the file is, CSV to examples, all checks, lengths (in tokens if a model is named).
Seconds are of the wall; those of the processor stand beside their sum, as other work makes only the former longer.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from kamerton.data.encoding import decode
from kamerton.data.read_csv import find_dialect
from kamerton.data.unpack import bytes_of, held
from kamerton.pipeline.prepare import ParsedData, audit, bind, parse_data
from kamerton.runs.recipe import resolve

WORDS, VOCABULARY = 14, 20_000
LABELS = ("good", "bad", "so-so")
SECONDS, MEGABYTES = 150, 1500
"""What a million rows may take."""
Result = TypeVar("Result")


def write_rows(path: Path, count: int) -> None:
    """Write `count` rows as CSV, about 100 bytes each."""
    random_ = random.Random(1)
    vocabulary = [
        "".join(random_.choices("abcdefghijklmnopqrstuvwxyz", k=random_.randint(2, 9))) for _ in range(VOCABULARY)
    ]
    weights = list(accumulate(1 / (rank + 5) for rank in range(VOCABULARY)))
    kept: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text,label\n")
        for number in range(count):
            text = " ".join(random_.choices(vocabulary, cum_weights=weights, k=WORDS))
            kind = random_.random()
            if kept and kind < 0.03:
                old = random_.choice(kept)
                text = old if kind < 0.01 else old.upper() if kind < 0.02 else old.replace(old.split()[5], "changed")
            elif len(kept) < 50_000:
                kept.append(text)
            file.write(f"{number},{text},{random_.choice(LABELS)}\n")


class Watch:
    """Times the steps of one process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, step: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = step()
        self.seconds[name] = time.perf_counter() - began
        return result


def look_through(path: Path, model: str | None) -> dict[str, float]:
    """Read one file, look through it, and return the seconds of each step and the peak of the memory."""
    watch = Watch()
    recipe = resolve(None, {"data.path": str(path), **({"model.name": model} if model else {})})
    content = bytes_of(path)
    watch.time("recognize", lambda: find_dialect(decode(held(str(path), next(content.chunks())))))
    parsed = watch.time("read", lambda: parse_data(recipe))
    findings = watch.time("all checks", lambda: audit(parsed))
    if model:
        watch.time("lengths", lambda: lengths_of(parsed))
    used = resource.getrusage(resource.RUSAGE_SELF)
    total, found = sum(watch.seconds.values()), sum(len(finding.rows) for finding in findings)
    processor = used.ru_utime + used.ru_stime
    return {**watch.seconds, "total": total, "processor": processor, "MB": used.ru_maxrss / 1024, "found": found}


def lengths_of(parsed: ParsedData) -> array[int]:
    """Count the tokens of every example as the model gets it."""
    bound = bind(parsed)
    return array("q", (len(item.tokens) + item.cut for item in bound.encode(parsed.examples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--model")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        print(json.dumps(look_through(arguments.file, arguments.model)))
        return
    steps: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in map(int, arguments.rows.split(",")):
            path = Path(folder) / f"{rows}.csv"
            write_rows(path, rows)
            command = [sys.executable, __file__, "--file", str(path)]
            command += ["--model", arguments.model] if arguments.model else []
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            first, steps = not steps, json.loads(done.stdout)
            if first:
                print(f"{'rows':>9} {'file MB':>8}" + "".join(f"{name:>20}" for name in steps))
            cells = "".join(f"{value:>20,.0f}" if value >= 100 else f"{value:>20.2f}" for value in steps.values())
            print(f"{rows:>9,} {path.stat().st_size / 1e6:>8.1f}{cells}", flush=True)
            path.unlink()
    if rows >= 1_000_000:
        kept = min(steps["total"], steps["processor"]) <= SECONDS and steps["MB"] <= MEGABYTES
        print(f"a million rows in {SECONDS} s and {MEGABYTES} MB: {'yes' if kept else 'no'}")


if __name__ == "__main__":
    main()
