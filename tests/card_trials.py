"""A trial of a method on the pretend GPU: tuned, killed, resumed, asked, exported and dialled.

It runs in a process of its own, since torch can be given a device only once; what it kills is a process of its own
again. What was saved answers on the card and, in a process that has none, on the CPU.
"""

from __future__ import annotations

import json
import math
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from children import Nursery
from crossing import SETTINGS, Cell
from family_trials import EXPORTS
from kamerton.core.children import run_python
from kamerton.core.errors import KamertonError, RunError
from kamerton.core.records import Saved, Started
from kamerton.deliver.export import AS_IT_IS, OTHER_FORMAT, export_run
from kamerton.deliver.predictor import Predictor
from kamerton.evaluate.artefact import compared, written
from kamerton.pipeline.remedies import turn_dial
from kamerton.runs.run import Run
from kamerton.session.engines import saved_engine
from kamerton.session.new_run import new_run
from kamerton.session.setup import open_setup
from kamerton.train import loop
from kamerton.tune import story
from pretend_gpu import Mode, pretend

TASKS = {"encoder": "text-classification", "decoder": "instruction", "seq2seq": "instruction"}
"""What each kind of model is tuned for."""
QUICK = {**SETTINGS, "train.dropout": 0.1, "evaluate.resamples": 200, "evaluate.forgetting": "off"}
WORKS = "works"


@dataclass
class CardTrial:
    """What became of a method on a kind of model, in one mode of the card."""

    mode: Mode
    kind: str
    method: str
    steps: dict[str, str] = field(default_factory=dict)
    """`works`, the refusal before anything ran, or how it failed."""

    @property
    def failures(self) -> list[str]:
        """The steps that do not work; a refusal is the outcome of the first and only one."""
        return [f"{step}: {said}" for step, said in self.steps.items() if said != WORKS and step != "refused"]


def try_on_card(trial: CardTrial, model: Path, nursery: Nursery, folder: Path) -> CardTrial:
    """Make a trial in a process of its own."""
    folder.mkdir(parents=True)
    ended = nursery.run("card_trials:main", trial.mode, trial.kind, trial.method, str(model), cwd=folder)
    written_there = folder / "trial.json"
    if ended.status or not written_there.exists():
        trial.steps["process"] = ended.said[-400:]
        return trial
    return CardTrial(**json.loads(written_there.read_text(encoding="utf-8")))


def main(mode: Mode, kind: str, method: str, model: str) -> None:
    """Make a trial in the current folder, and write what became of it."""
    pretend(mode)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    loop.SAVE_SECONDS = -1.0
    trial = CardTrial(mode, kind, method)
    try:
        run = _begun(Cell(TASKS[kind], method, Path(model)))
        for word, step in STEPS.items():
            trial.steps[word] = _outcome(step, run)
            if trial.steps[word] != WORKS:
                break
    except KamertonError as error:
        trial.steps["refused"] = " ".join(str(error.faults[0].rule).split())
    Path("trial.json").write_text(json.dumps(asdict(trial), ensure_ascii=False), encoding="utf-8")


def _begun(cell: Cell) -> Run:
    """Begin a run, and freeze its data. Raises `KamertonError` if it is refused."""
    data = Path("rows.jsonl")
    data.write_text("".join(json.dumps(row) + "\n" for row in cell.data), encoding="utf-8")
    named = {"data.task": cell.task, "method.name": cell.method, "model.name": str(cell.model)}
    columns = {key: key for row in cell.data for key in row}
    run = new_run(data, Path("run").absolute(), {**named, "data.columns": columns, **QUICK})
    telling: Iterator[Any] = story(run)
    while not run.has_split:
        next(telling)
    telling.close()
    return run


def _outcome(step: Callable[[Run], None], run: Run) -> str:
    try:
        step(Run(run.path))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the table is made to show
        traceback.print_exc()
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
    return WORKS


def tune(run: Run) -> None:
    """Tune in a process that is killed at its first checkpoint."""
    pid = os.fork()
    if not pid:
        try:
            for event in story(run):
                if isinstance(event, Saved):
                    os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:  # noqa: BLE001  # a forked process must not go on as its parent
            Path("error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != -signal.SIGKILL:
        raise RuntimeError(Path("error.txt").read_text(encoding="utf-8")[-400:])


def resume(run: Run) -> None:
    """Go on to the end of the story, in which a fresh process on the card answers as this one."""
    starts = [event.step for event in story(run) if isinstance(event, Started)]
    assert starts[0] > 0, "it began anew"
    assert run.state.device == "gpu", run.state.device
    assert run.state.artefact.rows > 0


def predict(run: Run) -> None:
    """Answer on the card, and in another process on the CPU."""
    predictor = Predictor(run)
    rows = predictor.setup.split.test
    predictions = predictor.setup.form.predict(predictor.engine, rows)
    Path("asked.jsonl").write_text(written(run, rows), encoding="utf-8")
    ended = run_python("-m", "kamerton", "predict", str(run.path), "asked.jsonl", "--json", "--device", "cpu")
    assert not ended.returncode, ended.stderr
    answers = [json.loads(line) for line in ended.stdout.split("\n") if line]
    compared(run, rows, predictions, answers)


def export(run: Run) -> None:
    """Export as an adapter and merged, where that fits; transformers and PEFT load it in another process on the CPU."""
    made = 0
    for word in EXPORTS:
        try:
            export_run(run, word, None)
        except RunError as error:
            if error.faults[0].remedy not in (OTHER_FORMAT, AS_IT_IS):
                raise
        else:
            made += 1
    assert made


def dial(run: Run) -> None:
    """Measure half of the strength, on both axes."""
    setup = open_setup(run)
    attempts = turn_dial(setup, saved_engine(run, setup), 0.5)
    assert all(math.isfinite(one.score) for one in attempts)


STEPS = {"tune": tune, "resume": resume, "predict": predict, "export": export, "dial": dial}
