"""Train by several processes, and compare with one: losses, answers, stops, kills.

    python benchmarks/processes.py [--kills 100] [--out PAGE]

Tiny models of random weights are tuned by every method on gloo processes on this machine, in fp32, since products in 16
bits depend on which rows are multiplied together. What is compared are the losses of all updates, those of all
validations, and the answers to the test rows; and, where a run was stopped or a process killed, its last weights.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch

from children import warm_up
from crossing import Models, lines_of_tasks
from kamerton.core import registry
from kamerton.train import loop
from parallel_runs import TASKS, Cell, Trained, carried_out, on_ranks, stop_after, train

FP32 = {"model.precision": "fp32"}
FSDP = {**FP32, "train.parallel": "fsdp"}
TOLERANCE = 1e-5
INTRODUCTION = (
    "## Measured",
    "",
    "Written by `make bench-processes`. Tiny models are tuned by processes on one CPU (gloo), as `kamerton launch` and",
    "torchrun start them, in fp32. The figures are the largest relative differences to one process over all updates",
    f"and validations; up to {TOLERANCE:g} counts as the same. Nothing here is about speed, or about cards.",
    "",
)
LENGTH = {"train.epochs": 4}
DROPOUT = {"train.dropout": 0.1}
"""Of runs that are killed: what is drawn for dropout must not depend on it."""
NOTES = {"feedback": " (KTO's reference point is the mean of a pass's rows, and each process has its own passes)"}
"""Tasks in which the loss of a row depends on the others that are run with it."""


def equality(folder: Path, models: Models, worlds: Sequence[int]) -> Iterator[str]:
    """Yield a table: every method and kind of model, with each number of processes."""
    cells = [Cell(method, kind, FP32) for method in registry.names("methods") for kind in TASKS]
    sharded = [Cell(method, kind, FSDP) for method in registry.names("methods") for kind in TASKS]
    one = carried_out(cells, 1, folder, models)
    found = {f"{world} processes": carried_out(cells, world, folder, models) for world in worlds}
    found["2 processes, weights divided"] = carried_out(sharded, 2, folder / "sharded", models)
    yield f"| method | model | {' | '.join(found)} |"
    yield f"|---|---|{'---|' * len(found)}"
    for place, cell in enumerate(cells):
        differences = [_difference(one[place], trained[place]) for trained in found.values()]
        yield f"| {cell.method} | {cell.kind} | {' | '.join(differences)} |"


def every_task(folder: Path, models: Models) -> Iterator[str]:
    """Yield a table: every task with each kind of model that it can be put to, by LoRA on two processes."""
    yield "| task, model | whole | divided |"
    yield "|---|---|---|"
    for line in lines_of_tasks():
        differences = []
        for settings in (FP32, FSDP):
            cell = Cell("lora", line.model, {**settings, **line.settings}, line.task)
            place = folder / line.title / settings.get("train.parallel", "ddp")
            [one], [two] = (carried_out([cell], world, place / str(world), models) for world in (1, 2))
            differences.append(_difference(one, two))
        noted = NOTES.get(line.task)
        told = [one.replace("**", "") + noted if noted else one for one in differences]
        yield f"| {line.title} | {' | '.join(told)} |"


def _difference(one: Trained, other: Trained) -> str:
    """Say how far two trainings are from each other."""
    if one.refused or other.refused:
        return "refused" if one.refused else f"**fails**: {other.refused}"
    if (len(one.losses), one.answers) != (len(other.losses), other.answers):
        return "**other answers**"
    pairs = zip([*one.losses, *one.validations], [*other.losses, *other.validations], strict=True)
    worst = max(abs(a - b) / max(abs(a), 1e-3) for a, b in pairs)
    return f"{worst:.0e}" if worst <= TOLERANCE else f"**{worst:.0e}**"


def stops(folder: Path, models: Models) -> Iterator[str]:
    """Yield a table: runs of two processes that are stopped, and gone on with by one, two and four."""
    yield "| method | model | weights | on 1 | on 2 | on 4 |"
    yield "|---|---|---|---|---|---|"
    for settings, title in ((FP32, "whole"), (FSDP, "divided")):
        for method in ("full", "lora"):
            for kind in TASKS:
                cell = Cell(method, kind, {**settings, **LENGTH})
                [one] = carried_out([cell], 1, folder / title / "one", models)
                stopped = folder / title / "stopped" / method / kind
                on_ranks(2, partial(stop_after, cell, stopped, models, 7))
                found = []
                for world in (1, 2, 4):
                    copy = stopped.with_name(f"{kind} on {world}")
                    shutil.copytree(stopped, copy)
                    [again] = carried_out([cell], world, copy, models)
                    found.append(_difference(one, again))
                yield f"| {method} | {kind} | {title} | {' | '.join(found)} |"


def kills(folder: Path, models: Models, count: int, seed: int = 0) -> Iterator[str]:
    """Kill a random rank at a random moment, go on with the same number of processes, and compare the weights."""
    drawn, outcomes = random.Random(seed), dict[str, int]()
    longest = 0.0
    for world, settings in ((2, FP32), (4, FP32), (2, FSDP)):
        cell = Cell("lora", "decoder", {**settings, **LENGTH, **DROPOUT})
        began = time.monotonic()
        carried_out([cell], world, folder / f"{world} {len(settings)}", models)
        lasts = time.monotonic() - began
        wanted = _weights(folder / f"{world} {len(settings)}")
        for number in range(-(-count // 3)):
            place = folder / f"{world} {len(settings)} {number}"
            moments: list[float] = []
            on_ranks(world, partial(carried_out_here, cell, place, models), partial(_kill, drawn, lasts, moments))
            longest = max(longest, time.monotonic() - moments[0])
            carried_out([cell], world, place, models)
            same = "same weights" if _weights(place) == wanted else "**other weights**"
            outcomes[same] = outcomes.get(same, 0) + 1
            shutil.rmtree(place)
    yield f"{sum(outcomes.values())} kills: " + ", ".join(f"{times} {name}" for name, times in outcomes.items()) + "."
    yield f"After a kill, the other processes had ended {longest:.0f} s later at the most."


def carried_out_here(cell: Cell, folder: Path, models: Models) -> None:
    """Train in a process that may be killed."""
    train(cell, folder, models)


def _kill(drawn: random.Random, lasts: float, moments: list[float], children: list[int]) -> None:
    time.sleep(drawn.uniform(0, lasts))
    victim = drawn.choice(children)
    moments.append(time.monotonic())
    os.kill(victim, signal.SIGKILL)


def _weights(folder: Path) -> Mapping[str, str]:
    """Return the checksums of the tuned model's files."""
    found = sorted(folder.rglob("run/model/*.safetensors"))
    assert found, f"{folder}: no model was written"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of random ranks at random moments")
    parser.add_argument("--worlds", default="2,4", help="numbers of processes")
    parser.add_argument("--out", type=Path, help="a page whose last section is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    loop.SAVE_SECONDS = -1.0
    with tempfile.TemporaryDirectory(prefix="kamerton-processes-") as place:
        folder = Path(place)
        models = Models(folder / "models")
        models.folder.mkdir()
        for kind in TASKS:
            models[kind]
        lines = [*INTRODUCTION, *equality(folder / "equal", models, [*map(int, given.worlds.split(","))])]
        lines += ["", "### Every task", "", *every_task(folder / "tasks", models)]
        print(*lines, sep="\n", flush=True)
        lines += ["", "### A stop at two processes", "", "Gone on with by another number of them.", ""]
        lines += stops(folder / "stops", models)
        lines += ["", "### `kill -9`", "", *kills(folder / "kills", models, given.kills)]
    text = "\n".join([*lines, ""])
    print(text)
    if given.out:
        page = given.out.read_text("utf-8") if given.out.exists() else ""
        before, _, _ = page.partition(INTRODUCTION[0])
        given.out.write_text(before + text, encoding="utf-8")
    sys.exit("**" in text)


if __name__ == "__main__":
    main()
