"""Export a tiny tuned model of every task to every format, and say what was proven in its engine or refused.

python benchmarks/exports.py [--formats onnx,gguf] [--tasks regression]    prints a table in Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import torch

from crossing import SETTINGS, Models, lines_of_tasks, varied
from kamerton.core import registry
from kamerton.core.errors import KamertonError, Unusable
from kamerton.core.exporting import Export, Tuned
from kamerton.deliver.export import compared_with
from kamerton.models.saved import load_saved, save_model
from kamerton.pipeline.freeze import freeze
from kamerton.session.engines import attach_method, load_base
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, make_method, open_setup

METHOD = "lora"
MOVED = 0.1
"""Standard deviation of what is added to every weight that trains: no training is needed to be another model."""


def setup_of(task: str, model: Path, settings: dict[str, object], folder: Path) -> Setup:
    """Prepare a run on variants of a task's example rows."""
    data = folder / "rows.jsonl"
    rows = list(varied(registry.choose("tasks", task)(), 48))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    columns = {key: key for row in rows for key in row}
    named = {"data.task": task, "method.name": METHOD, "model.name": str(model), "data.columns": columns}
    run = new_run(data, folder / "run", {**named, **SETTINGS, **settings})
    for _ in freeze(run, Clock(run)):
        pass
    return open_setup(run)


def tuned(setup: Setup, folder: Path) -> Tuned:
    """Save a model whose trained weights were moved, and load it as an export does."""
    model = attach_method(setup, load_base(setup, make_method(setup.recipe)))
    torch.manual_seed(1)
    with torch.no_grad():
        for values in model.parameters():
            if values.requires_grad:
                values.add_(torch.randn_like(values) * MOVED)
    save_model(folder, model, setup.tokenizer)
    again = load_saved(folder, setup.form, setup.facts, setup.tokenizer)
    inputs = tuple(compared_with(setup, again).inputs[0])
    return Tuned(folder, again, setup.tokenizer, make_method(setup.recipe), setup.form, setup.facts, inputs)


def outcome(word: str, settings: dict[str, object], setup: Setup, folder: Path) -> str:
    """Export a model anew, and say in a few words what came of it."""
    export: Export = registry.choose("exports", word)(**settings)
    model = tuned(setup, folder / "model")
    if reason := export.refuses(model):
        return f"refused: {reason}"
    original = compared_with(setup, model.model)
    try:
        export.write(model, folder / "out")
        proof = export.prove(original, folder / "out")
        engine = export.engine(original, folder / "out")
        if engine is not None:
            setup.form.predict(engine, setup.split.test)
    except Unusable as error:
        return f"**failed**: {error}"
    measured = proof.divergence if proof.divergence is not None else proof.largest_relative_difference
    return f"{proof.engine or 'not proven'} {measured or 0:.0e}{', answers again' if engine else ''}"


def cells(tasks: list[str], formats: list[str], folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each line of the table: task and kind, format, outcome."""
    models = Models(folder / "models")
    for line in lines_of_tasks():
        if tasks and line.task not in tasks:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as place:
            try:
                setup = setup_of(line.task, models[line.model], dict(line.settings), Path(place))
            except KamertonError as error:
                yield line.title, "", f"no run: {error}"
                continue
            for one in formats:
                word, *given = one.split(":")
                settings = dict(pair.split("=") for pair in given)
                with tempfile.TemporaryDirectory(dir=place) as inner:
                    yield line.title, one, outcome(word, settings, setup, Path(inner))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--formats", default="gguf,gguf-adapter,ollama,onnx,onnx:int8=true,vllm")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| task, model | format | outcome |\n| --- | --- | --- |", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, word, said in cells(
            [one for one in given.tasks.split(",") if one], given.formats.split(","), Path(folder)
        ):
            print(f"| {name} | {word} | {said.splitlines()[0]} |", flush=True)
            failed += said.startswith("**failed**")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
