"""Tune real models by plain libraries, prove them, and hold every answer against a plain script's; a table.

    python benchmarks/proving.py MOVIE_REVIEWS DOCSTRINGS [--kinds trainer,peft,trl] [--folder FOLDER] [--write]

The models are tuned and asked in the peers' environment (benchmarks/peers/elsewhere.py), where nothing of Kamerton is
imported. `--write` puts the table into docs/prove.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sacrebleu
from sklearn.metrics import accuracy_score

from kamerton.models.locate import locate
from kamerton.runs.run import Run

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
ELSEWHERE = ROOT / "benchmarks" / "peers" / "elsewhere.py"
BEGIN, END = "<!-- table: make bench-prove -->", "<!-- end of the table -->"
LONGEST = 700
"""Characters of a function whose docstring is wanted."""
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A model that is tuned elsewhere."""

    kind: str
    title: str
    base: str
    train: int
    test: int


CASES = (
    Case("trainer", "classifier, transformers' Trainer", "minilm", 600, 400),
    Case("peft", "LoRA, PEFT and the Trainer", "smollm2", 64, 32),
    Case("trl", "LoRA, TRL's SFTTrainer", "smollm2", 64, 32),
)


def rows_of(case: Case, reviews: Path, docstrings: Path) -> Rows:
    """Return rows in the shape that such a model is tuned on."""
    if case.kind == "trainer":
        with reviews.open(encoding="utf-8") as file:
            return [{"text": row["text"], "label": row["label"]} for row in csv.DictReader(file)]
    given = [json.loads(line) for line in docstrings.read_text("utf-8").splitlines()]
    asked = [(f"{row['instruction']}\n\n{row['input']}", row["output"]) for row in given if len(row["input"]) < LONGEST]
    if case.kind == "peft":
        return [{"instruction": text, "output": answer} for text, answer in asked]
    turns = [({"role": "user", "content": text}, {"role": "assistant", "content": answer}) for text, answer in asked]
    return [{"messages": list(pair)} for pair in turns]


def called(*words: object) -> float:
    """Run a program, and return its seconds."""
    began = time.perf_counter()
    subprocess.run([str(word) for word in words], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return time.perf_counter() - began


def line_of(case: Case, rows: Rows, folder: Path) -> str:
    """Tune, prove, answer by the plain script, compare; return the table's line."""
    random.Random(0).shuffle(rows)
    files = {"train": rows[: case.train], "test": rows[case.train : case.train + case.test]}
    for name, part in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    train, test, model, base = folder / "train.jsonl", folder / "test.jsonl", folder / "model", locate(case.base)
    tuning = called(PEERS, ELSEWHERE, "tune", case.kind, base, train, model)
    kamerton = (sys.executable, "-m", "kamerton", "prove", test, "--base", case.base, "--tuned", model)
    proving = called(*kamerton, "--trained-on", train, "--out", folder / "run")
    run = Run(folder / "run")
    split, most = run.read_split().test, run.recipe.evaluate.max_new_tokens or 1
    asked = [files["test"][example.place.line - 1] for example in split]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    called(PEERS, ELSEWHERE, "answer", case.kind, model, folder / "asked.jsonl", folder / "answers.json", most)
    theirs = json.loads((folder / "answers.json").read_text("utf-8"))
    ours = [one.text for answers in run.read_answers() if answers.kind == "tuned" for one in answers.predictions]
    equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
    metric, plain = score(case, theirs, [example.gold for example in split])
    tuned = next(one for one in run.result["contenders"] if one["kind"] == "tuned")["metrics"][metric]["value"]
    verdict = run.result["verdict"]["decision"]
    shown = f"{metric} {tuned:.4f}", f"{plain:.4f}", f"{equal} of {len(ours)}"
    cells = [case.title, case.base, *shown, verdict, f"{tuning:.0f} s", f"{proving:.0f} s"]
    return f"| {' | '.join(cells)} |"


def score(case: Case, answers: Sequence[str], golds: Sequence[str]) -> tuple[str, float]:
    """Score answers by the metric's own library."""
    if case.kind == "trainer":
        return "accuracy", float(accuracy_score(golds, answers))
    return "chrf", sacrebleu.corpus_chrf(list(answers), [list(golds)]).score / 100


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("docstrings", type=Path)
    parser.add_argument("--kinds", default=",".join(case.kind for case in CASES))
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    head = "| tuned by | base | score here | plain script | equal answers | verdict | tuning | `prove` |"
    table = [head, "|" + " --- |" * 8]
    print("\n".join(table), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for case in (one for one in CASES if one.kind in given.kinds.split(",")):
            folder = (given.folder or Path(temporary)) / case.kind
            folder.mkdir(parents=True)
            table.append(line_of(case, rows_of(case, given.reviews, given.docstrings), folder))
            print(table[-1], flush=True)
    if given.write:
        page = ROOT / "docs" / "prove.md"
        before, _, rest = page.read_text("utf-8").partition(BEGIN)
        page.write_text("\n".join([before + BEGIN, *table, END + rest.partition(END)[2]]), encoding="utf-8")


if __name__ == "__main__":
    main()
