"""Trainings by several processes, forked from one that has imported everything, with torchrun's environment."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crossing import SETTINGS, Models, varied
from kamerton.core import registry
from kamerton.core.errors import KamertonError
from kamerton.core.records import RunEvent, Stepped, Validated
from kamerton.kernels.processes import follow, joined
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.training import tuned_engine
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, open_setup

TASKS = {"encoder": "text-classification", "decoder": "instruction", "seq2seq": "instruction"}
QUICK = {**SETTINGS, "train.batch_size": 6, "evaluate.resamples": 200, "evaluate.forgetting": "off"}
ROWS = 30


@dataclass(frozen=True)
class Cell:
    """A method, a kind of model, and settings."""

    method: str
    kind: str
    settings: Mapping[str, object]
    task: str = ""
    """The usual one of the kind if empty."""

    @property
    def name(self) -> str:
        """That of its folder."""
        return f"{self.method} {self.kind}"


@dataclass
class Trained:
    """What became of a training."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """To the test rows."""
    refused: str = ""


def train(cell: Cell, folder: Path, models: Models) -> Trained:
    """Tune a tiny model, and answer the test rows; a run that is there goes on."""
    try:
        run, training = begun(cell, folder, models)
        engine = _result(training)
    except KamertonError as error:
        return Trained(refused=str(error))
    setup, events = open_setup(run), run.events()
    steps = [event for event in events if isinstance(event, Stepped)]
    return Trained(
        [step.loss for step in steps],
        [step.gradient_norm for step in steps],
        [event.loss for event in events if isinstance(event, Validated)],
        [one.text for one in setup.form.predict(engine, setup.split.test)],
    )


def begun(cell: Cell, folder: Path, models: Models) -> tuple[Run, Iterator[RunEvent]]:
    """Split the data of a cell's run, unless that is done, and return it with what trains it."""
    place = folder / cell.name
    if not (place / "run" / "recipe.yaml").exists():
        place.mkdir(parents=True, exist_ok=True)
        task = cell.task or TASKS[cell.kind]
        rows = [*varied(registry.choose("tasks", task)(), ROWS)]
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        named = {"data.task": task, "method.name": cell.method, "model.name": str(models[cell.kind])}
        columns = {"data.columns": {key: key for key in rows[0]}}
        new_run(place / "rows.jsonl", place / "run", {**named, **columns, **QUICK, **cell.settings})
    run = Run(place / "run")
    clock = Clock(run)
    with run.locked():
        if not run.has_split:
            for _ in freeze(run, clock):
                pass
    return run, tuned_engine(run, open_setup(run), clock)


def stop_after(cell: Cell, folder: Path, models: Models, updates: int) -> None:
    """Leave a training after so many updates, with what is saved of it, as if the process had been killed."""
    _, training = begun(cell, folder, models)
    for event in training:
        if isinstance(event, Stepped) and event.step == updates:
            os._exit(0)


def carried_out(cells: Sequence[Cell], world: int, folder: Path, models: Models) -> list[Trained]:
    """Carry out trainings with so many processes, one after the other."""
    found = folder / f"found {world}.json"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / str(world) if len(cells) > 1 else folder

    def work() -> None:
        trained = [asdict(train(cell, place, models)) for cell in cells]
        found.write_text(json.dumps(trained, ensure_ascii=False), encoding="utf-8")

    assert on_ranks(world, work) == [0] * world
    return [Trained(**one) for one in json.loads(found.read_text(encoding="utf-8"))]


def on_ranks(world: int, work: Callable[[], object], disturb: Callable[[list[int]], None] | None = None) -> list[int]:
    """Fork so many processes as torchrun would start them; rank 0 works. Return their exit statuses.

    `disturb` is given their numbers while they run.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if not child:
            _be(rank, world, port, work)
        children.append(child)
    if disturb:
        disturb(children)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _be(rank: int, world: int, port: int, work: Callable[[], object]) -> None:
    """Be one of the processes, and end."""
    status = 1
    try:
        if world > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
        with joined():
            follow() if rank else work()
        status = 0
    except (KamertonError, SystemExit):
        pass  # of another rank that was killed
    except BaseException:  # noqa: BLE001 (a process of its own)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _result(telling: Iterator[Any]) -> Any:
    while True:
        try:
            next(telling)
        except StopIteration as end:
            return end.value
