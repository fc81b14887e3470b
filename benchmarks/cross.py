"""Every task, kind of model and method, and every method on every classification head; written into docs/cross.md.

python benchmarks/cross.py [--only WORD] [--page] [--out docs/cross.md]

A cell is trained a few updates on a tiny model of random weights, stopped, resumed and saved; its answers are asked for
again in a process that did not train, and its logits in one that loads it with transformers and PEFT alone. Or it is
refused before anything runs. Cells that are there already (runs/bench-cross/cells.jsonl) are not made again. With
`--only` the lines whose title holds the word are made, and no page is written. With `--page` it is written of the
lines that are whole.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from children import Nursery
from crossing import Cell, Line, Models, cross, lines_of_heads, lines_of_tasks
from kamerton.core import registry

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "bench-cross" / "cells.jsonl"
WORKS = "works"
INTRODUCTION = (
    "# What works together",
    "",
    "Written by `make bench-cross`. Every cell is a small run on a tiny model of random weights: trained a few",
    "updates, stopped, resumed, saved; asked again by `kamerton predict` in a process that did not train, with the",
    "same answers; and loaded by transformers and PEFT alone, with the same logits. A number marks a refusal:",
    "it comes before anything is trained, in `kamerton plan` and `kamerton tune` alike, with the reason and what to",
    "take instead.",
    "",
)


@dataclass(frozen=True)
class Result:
    """What became of a cell."""

    line: str
    method: str
    outcome: str
    """`works`, or the refusal."""
    failed: bool
    seconds: float


def made(line: Line, method: str, models: Models, nursery: Nursery) -> Result:
    """Make a cell."""
    began, place = time.perf_counter(), Path(tempfile.mkdtemp(dir=nursery.folder))
    failed, outcome = False, WORKS
    try:
        cell = Cell(line.task, method, models[line.model], line.settings)
        outcome = _shared(cross(cell, place / "cell", nursery).refused, models) or WORKS
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the table is made to show
        failed, outcome = True, f"{type(error).__name__}: {error}"[-400:]
        traceback.print_exc()
    shutil.rmtree(place)
    return Result(line.title, method, outcome, failed, round(time.perf_counter() - began, 1))


def _shared(refusal: str, models: Models) -> str:
    """Leave out of a refusal where the model stood, so that equal reasons are equal."""
    words = " ".join(refusal.split())
    return words.replace(f"{models.folder}/", "").split(": ", 1)[-1]


def table(title: str, lines: Sequence[Line], results: Mapping[tuple[str, str], Result]) -> Iterator[str]:
    """Draw a table, and its refusals below it."""
    methods = registry.names("methods")
    said: dict[str, int] = {}
    yield from (f"## {title}", "", f"| | {' | '.join(f'`{method}`' for method in methods)} |")
    yield "|" + "---|" * (len(methods) + 1)
    for line in lines:
        cells = [results[line.title, method] for method in methods if (line.title, method) in results]
        if len(cells) < len(methods):
            continue
        marks = ["✓" if one.outcome == WORKS else str(said.setdefault(one.outcome, len(said) + 1)) for one in cells]
        yield f"| {line.title} | {' | '.join(marks)} |"
    yield ""
    yield from (f"{number}. {reason}" for reason, number in said.items())
    yield ""


def kept() -> dict[tuple[str, str], Result]:
    """Read the cells that are there."""
    if not KEPT.exists():
        return {}
    read = (Result(**json.loads(line)) for line in KEPT.read_text("utf-8").splitlines())
    return {(one.line, one.method): one for one in read if not one.failed}


def main() -> int:
    """Make all cells and write the page; the status is 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--page", action="store_true", help="make no cells")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "cross.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = kept()
    tasks, heads = lines_of_tasks(), lines_of_heads()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KEPT.open("a", encoding="utf-8") as file:
        models, nursery = Models(Path(folder) / "models"), Nursery(Path(folder))
        models.folder.mkdir()
        for line in (one for one in [*tasks, *heads] if arguments.only in one.title and not arguments.page):
            for method in registry.names("methods"):
                if (line.title, method) not in results:
                    one = results[line.title, method] = made(line, method, models, nursery)
                    print(f"{line.title:32} {method:14} {one.seconds:5.1f} s  {one.outcome}", flush=True)
                    file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
                    file.flush()
        nursery.close()
    if not arguments.only:
        lines = [*INTRODUCTION, *table("Tasks and kinds of model", tasks, results)]
        lines += table("Classification heads, by family of transformers", heads, results)
        arguments.out.write_text("\n".join(lines), encoding="utf-8")
    failed = sum(one.failed for one in results.values())
    print(f"{len(results)} cells, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
