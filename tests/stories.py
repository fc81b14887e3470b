"""Little runs by the command line, in processes of their own, for all tests that look at them."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from children import Child, Ended, Nursery, Streams
from kamerton.runs.run import Run

DONE, MISTAKE, USAGE, UNMET, INTERRUPTED = 0, 1, 2, 3, 130
GOOD = ("a warm film", "funny and kind", "a delight", "I would watch it again", "тёплый фильм", "чудесно и смешно")
BAD = ("a thin plot", "two hours lost", "dull and cold", "I want it back", "слабый сюжет", "верните мои деньги")
ASKED = ("Name the number {}.", "Назови число {}.", "Which number comes after {}?", "Какое число идёт после {}?")


def reviews(count: int) -> list[tuple[str, str]]:
    drawn = random.Random(0)
    rows = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        rows.append((f"{', '.join(drawn.sample((BAD, GOOD)[number % 2], 3))} – {number}", label))
    return rows


def write_reviews(path: Path) -> None:
    """Write 90 good rows, one without a text, two that are there already, and one with a cell too many."""
    rows = reviews(90)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows([*rows, ("", "good"), rows[4], rows[7], ("a cell", "too", "many")])


def write_answers(path: Path) -> None:
    """Write 64 requests in two languages."""
    asked = [{"instruction": ASKED[n % 4].format(n), "output": str(n + n % 4 // 2)} for n in range(64)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked), encoding="utf-8")


@dataclass(frozen=True)
class Place:
    """A folder with data and models, and a nursery for the processes in it."""

    folder: Path
    nursery: Nursery
    told: dict[str, Ended] = field(default_factory=dict)

    def start(self, *arguments: object, stdin: str = "", streams: Streams | None = None) -> Child:
        words = [str(argument) for argument in arguments]
        return self.nursery.start("children:kamerton", words, cwd=self.folder, stdin=stdin, streams=streams)

    def call(self, *arguments: object, stdin: str = "", streams: Streams | None = None) -> Ended:
        return self.start(*arguments, stdin=stdin, streams=streams).wait()

    def run(self, name: str) -> Run:
        """Give one of the runs below; it is told when it is first asked for."""
        if name not in self.told:
            self.told[name] = self.call("tune", *RUNS[name], "--out", name, *QUICK)
        assert self.told[name].status == (UNMET if "--require" in RUNS[name] else DONE), self.told[name].said
        return Run(self.folder / name)


QUICK = ("--set", "evaluate.resamples=200", "--learning-rate", "3e-3")
RUNS: dict[str, tuple[str, ...]] = {
    "head": ("reviews.csv", "--model", "encoder", "--method", "head", "--epochs", "3",
             "--set", "model.max_tokens=1000"),
    "full": ("reviews.csv", "--model", "encoder", "--method", "full", "--epochs", "3", "--set", "train.dropout=0.1"),
    "lora": ("reviews.csv", "--model", "encoder", "--method", "lora", "--epochs", "2", "--set", "method.rank=4"),
    "labels": ("reviews.csv", "--model", "decoder", "--method", "lora", "--epochs", "1", "--require", "ship", "--json"),
    "answers": ("answers.jsonl", "--model", "decoder", "--method", "lora", "--epochs", "2"),
    "answers-full": ("answers.jsonl", "--model", "decoder", "--method", "full", "--epochs", "1",
                     "--set", "evaluate.shots=0"),
}  # fmt: skip
CLASSES = ("head", "full", "lora", "labels")


def weights_of(run: Run | Path) -> str:
    """Hash the weights of the tuned model."""
    folder = run.model if isinstance(run, Run) else run / "model"
    files = sorted(folder.glob("*.safetensors"))
    assert files
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def wait_for(child: Child, happened: Callable[[], bool]) -> None:
    """Wait until something has happened, or the child is over."""
    while not happened() and not child.has_ended:
        time.sleep(0.005)
