"""A cell of the cross: a task put to a model by a method. It is trained, stopped, resumed, saved, and loaded elsewhere.

Everything but the answers in a fresh process happens in this one, which has imported the libraries; the fresh
processes are forked from another that has imported them and never trained.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from children import Nursery
from kamerton.core import registry
from kamerton.core.contracts import Task
from kamerton.core.errors import KamertonError
from kamerton.core.records import Saved
from kamerton.deliver.export import inputs_of
from kamerton.evaluate.artefact import compared, written
from kamerton.models import fresh
from kamerton.models.quantize import FILE
from kamerton.models.saved import is_adapter
from kamerton.pipeline.contenders import answer_baselines, ask_untuned
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.training import tuned_engine
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from tiny_families import FAMILIES, kind_of, tiny_family
from tiny_models import tiny_decoder, tiny_encoder, tiny_seq2seq

ROWS = 24
SETTINGS: Mapping[str, object] = {
    "train.epochs": 2,
    "train.batch_size": 8,
    "split.test": 0.25,
    "split.validation": 0.25,
    "prompt.draws": 1,
    "prompt.search": False,
    "evaluate.shots": 0,
    "evaluate.max_new_tokens": 2,
}
TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest."""


@dataclass(frozen=True)
class Cell:
    """A task, a method, and the folder of a model."""

    task: str
    method: str
    model: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    """Beside those that all cells have."""
    rows: Sequence[Mapping[str, object]] = ()
    """The data; made of the task's own example rows if empty."""

    @property
    def data(self) -> list[dict[str, object]]:
        """Its source rows."""
        task: Task = registry.choose("tasks", self.task)()
        return [dict(row) for row in self.rows] or list(varied(task, ROWS))


@dataclass(frozen=True)
class Outcome:
    """What became of a cell."""

    refused: str = ""
    """The refusal, if it was refused before anything ran."""
    updates: int = 0
    difference: float = 0.0
    """Of the logits in plain transformers or PEFT, relative to the largest."""


@dataclass(frozen=True)
class Line:
    """A line of the table: a task put to a model, by every method."""

    title: str
    task: str
    model: str
    """A kind of model, or a family."""
    settings: Mapping[str, object] = field(default_factory=dict)


def lines_of_tasks() -> list[Line]:
    """List every task with every kind of model that it can be put to; an encoder may have to bring its own head."""
    return [
        Line(f"{task}, {kind}", task, "masked" if _hides(task, kind) else kind)
        for task in registry.names("tasks")
        for kind in registry.choose("tasks", task).kinds
    ]


def lines_of_heads() -> list[Line]:
    """List every family that can carry a classification head, with the task that reads one class of a text."""
    [task] = [word for word in registry.names("tasks") if registry.choose("tasks", word).answers == "class"]
    reads = {"decoder": {"task.decoder": "classifier"}}
    return [Line(family, task, family, reads.get(kind_of(family), {})) for family in FAMILIES]


def _hides(task: str, kind: str) -> bool:
    """Say whether a task is put to an encoder's own head for hidden tokens."""
    return kind == "encoder" and registry.choose("tasks", task).answers == "likelihood"


@dataclass(frozen=True)
class Models:
    """Tiny models, each made when it is first asked for."""

    folder: Path

    def __getitem__(self, word: str) -> Path:
        """Give the folder of a kind or a family."""
        place = self.folder / word
        if not place.exists():
            KINDS[word](place) if word in KINDS else tiny_family(word, place)
        return place


def masked_encoder(folder: Path) -> Path:
    """Save a tiny BERT with a head for hidden tokens."""
    config = BertConfig.from_pretrained(tiny_encoder(folder))
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


KINDS: Mapping[str, Callable[[Path], Path]] = {
    "encoder": tiny_encoder,
    "decoder": tiny_decoder,
    "seq2seq": tiny_seq2seq,
    "masked": masked_encoder,
}


def varied(task: Task, count: int) -> Iterator[dict[str, object]]:
    """Make many rows of a task's few example rows: each gets letters of its own at the end of its first text."""
    drawn, examples = random.Random(0), task.example_rows()
    for number in range(count):
        word = "".join(drawn.choices(string.ascii_lowercase, k=24))
        yield lengthened(examples[number % len(examples)], word)[0]


def lengthened(value: Any, word: str) -> tuple[Any, bool]:
    """Add a word to the first text within a value; say whether there was one."""
    if isinstance(value, str):
        return f"{value}{word}", True
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("role", "from"):
                continue
            new, done = lengthened(part, word)
            if done:
                return {**value, key: new}, True
    if isinstance(value, list):
        for at, part in enumerate(value):
            new, done = lengthened(part, word)
            if done:
                return [*value[:at], new, *value[at + 1 :]], True
    return value, False


def cross(cell: Cell, folder: Path, nursery: Nursery) -> Outcome:
    """Take a cell the whole way.

    Raises:
        KamertonError: it was refused after something had run.
        AssertionError: what was saved answers otherwise elsewhere.
    """
    folder.mkdir(parents=True)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in cell.data), encoding="utf-8")
    named = {"data.task": cell.task, "method.name": cell.method, "model.name": str(cell.model)}
    columns = {key: key for row in cell.data for key in row}
    run = new_run(data, folder / "run", {**named, "data.columns": columns, **SETTINGS, **cell.settings})
    clock = Clock(run)
    try:
        for _ in freeze(run, clock):
            pass
    except KamertonError as error:
        return Outcome(refused=str(error))
    setup = open_setup(run)
    for _ in (*answer_baselines(run, setup, clock), *ask_untuned(run, setup, clock)):
        pass
    stop_at_the_first_checkpoint(run, setup, clock)
    engine = _last(tuned_engine(run, setup, clock))
    updates = sum(1 for event in run.events() if type(event).__name__ == "Stepped")
    rows = setup.form.validation_subset(setup.split.test)
    predictions = setup.form.predict(engine, rows)
    answers = _answered_elsewhere(run, folder, rows, nursery)
    compared(run, rows, predictions, answers)
    difference = _plainly(run, setup, engine.model, folder, nursery)
    assert difference <= TOLERANCE, f"plain PEFT or transformers differs by {difference:.2g}"
    return Outcome(updates=updates, difference=difference)


def stop_at_the_first_checkpoint(run: Run, setup: Setup, clock: Clock) -> None:
    """Train until something was saved, and leave it there."""
    telling = tuned_engine(run, setup, clock)
    for event in telling:
        if isinstance(event, Saved):
            break
    telling.close()


def _last(telling: Any) -> Any:
    """Exhaust a generator and give what it returns."""
    while True:
        try:
            next(telling)
        except StopIteration as end:
            return end.value


def _answered_elsewhere(run: Run, folder: Path, rows: Sequence[Any], nursery: Nursery) -> list[Any]:
    """Let `kamerton predict` answer in a process that did not train."""
    source = folder / "asked.jsonl"
    source.write_text(written(run, rows), encoding="utf-8")
    ended = nursery.run("children:kamerton", ["predict", str(run.path), str(source), "--json"], cwd=folder)
    assert ended.status == 0, ended.said
    return [json.loads(line) for line in ended.out.split("\n") if line]


def _plainly(run: Run, setup: Setup, model: torch.nn.Module, folder: Path, nursery: Nursery) -> float:
    """Let transformers and PEFT alone load the model elsewhere; give how far its logits are from ours."""
    items = [sequence for item in setup.encode(setup.split.test[:2]) for sequence in item.sequences]
    inputs = inputs_of(model, items)
    wanted = fresh.logits_of(model, inputs)
    method, over = make_method(setup.recipe), is_adapter(run.model)
    paths = {name: str(folder / f"{name}.safetensors") for name in ("inputs", "logits")}
    save_file({f"{i}.{n}": v.cpu() for i, row in enumerate(inputs) for n, v in row.items()}, paths["inputs"])
    job = {
        **paths,
        "folder": str(run.model),
        "auto": setup.form.model_class,
        "base": setup.facts.folder if over else None,
        "config": dict(setup.form.config),
        "module": type(method).__module__ if over and method.brings_type else "",
        "quantization": json.loads((run.model / FILE).read_bytes()) if (run.model / FILE).exists() else None,
        "tokens": len(setup.tokenizer),
        "rows": len(inputs),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    ended = nursery.run("kamerton.models.fresh:main", str(folder / "job.json"), cwd=folder)
    assert ended.status == 0, ended.said
    found = load_file(paths["logits"])
    assert found.keys() == wanted.keys()
    largest = max(float(values.abs().max()) for values in wanted.values())
    return max(float((values - found[name]).abs().max()) for name, values in wanted.items()) / (largest or 1.0)
