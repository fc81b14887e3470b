"""Checks in a process that has a pretend GPU: `on_a_card.py FOLDER {"MODE": [CELL, …]}` writes what it found."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import varlen
from transformers import LlamaConfig, LlamaForCausalLM

from children import Nursery
from crossing import Cell, Models, cross
from kamerton.core import registry
from kamerton.core.errors import KamertonError, TrainingError
from kamerton.core.records import Encoded, Halved, Overflowed, Saved, Stepped
from kamerton.engine import device_attention
from kamerton.engine.engine import TorchEngine, make_engine
from kamerton.forms.dialogue import Dialogue
from kamerton.kernels.device import choose_device, name_of, peak_bytes
from kamerton.kernels.dropout import set_dropout
from kamerton.models.load import load_model, load_tokenizer
from kamerton.models.precision import HALVES, choose_precision, set_precision
from kamerton.runs.recipe import TrainSettings
from kamerton.runs.run import Run
from kamerton.train import loop
from kamerton.train.batches import UpdatePlan
from kamerton.train.checkpoint import TrainState
from kamerton.train.dynamics import Dynamics
from kamerton.train.loop import Job, Validation, train
from kamerton.train.optimizer import make_optimizer
from kamerton.train.parallel import OneProcess
from pretend_gpu import CARD, DEVICE, TOTAL, counted, pretend
from tiny_engines import TEXT, facts_of
from varlen_kernel import Kernel


def main(place: str, asked: str) -> None:
    """Run all checks in each mode, in a process of its own, and write what was found into `MODE.json`."""
    torch.set_num_threads(1)
    loop.SAVE_SECONDS = -1.0
    folder = Path(place)
    nursery, models = Nursery(folder), Models(folder / "models")
    models.folder.mkdir()
    for kind in ("encoder", "decoder", "seq2seq"):
        models[kind]
    for mode, cells in json.loads(asked).items():
        pid = os.fork()
        if not pid:
            status = 1
            try:
                found = checked(mode, cells, folder / mode, models, nursery)
                (folder / f"{mode}.json").write_text(json.dumps(found))
                status = 0
            finally:
                os._exit(status) if not status else traceback.print_exc()
                os._exit(status)
        os.waitpid(pid, 0)
    nursery.close()


def checked(mode: Any, cells: Sequence[str], folder: Path, models: Models, nursery: Nursery) -> dict[str, Any]:
    """Run all checks in one mode."""
    pretend(mode)
    found: dict[str, Any] = {"device": []}
    for number, spec in enumerate(cells):
        task, kind, method = spec.split("/")
        outcome = cross(Cell(task, method, models[kind], {"train.dropout": 0.1}), folder / str(number), nursery)
        found[spec] = {"updates": outcome.updates, "difference": outcome.difference}
        found["device"].append(Run(folder / str(number) / "run").state.device)
    base = models["decoder"]
    found |= resumed(base, folder)
    if mode == "cuda":  # what does not depend on the types of a card is looked at once
        found |= copies(base, folder) | decoding(base) | out_of_memory(base, folder) | in_half(base, folder) | named()
        sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
        status = importlib.import_module("check_gpu").main(["--small", "--out", str(folder / "check.json")])
        found |= {"check": json.loads((folder / "check.json").read_text()), "check status": status}
    return found


def rows_of(count: int, longest: int = 24) -> list[Encoded]:
    """Make rows of different lengths whose tokens are all trained on."""
    lengths = [longest - number % (longest // 2) for number in range(count)]
    tokens = [tuple(5 + (7 * number + at) % 90 for at in range(length)) for number, length in enumerate(lengths)]
    return [Encoded(own, tuple(range(len(own) - 1)), own[1:]) for own in tokens]


def job_of(
    base: Path, folder: Path, rows: Sequence[Encoded], precision: str = "fp32", **settings: Any
) -> tuple[Job, TorchEngine]:
    """Make a job of LoRA with dropout on a decoder, as a run makes it."""
    facts, half = facts_of(base), HALVES.get(precision)
    loaded = load_model(base, TEXT, {}, seed=0, half=half)
    set_precision(loaded.model, precision)
    method = registry.choose("methods", "lora")(dropout=settings.get("dropout", 0.0))
    model = method.attach(loaded.model, loaded.fresh)
    set_dropout(model, settings.get("dropout", 0.0))
    limits = {"max_tokens": 64, "max_new_tokens": 6, "tokens_per_pass": 4096}
    engine = make_engine(model, load_tokenizer(facts), facts, rows[:3], **limits)
    values = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "optimizer": "adamw", **settings}
    job = Job(
        model=model,
        layout=engine.layout,
        form=Dialogue(ask=lambda example: example.text),
        rows=rows,
        validate=lambda: Validation(1.0, {}, 0.0),
        settings=TrainSettings.model_validate(values),
        validations_per_epoch=1,
        seed=1,
        checkpoints=folder,
        identity={"data": "d"},
        dynamics=Dynamics.of(len(rows)),
        scaled=precision == "fp16",
    )
    return job, engine


def begun(job: Job, rows: int) -> loop._Training:
    """Return a job under way, whose update is of so many rows."""
    ways, plan = OneProcess(job.model, job.layout), UpdatePlan(rows, rows, 1, seed=0)
    return loop._Training(job, ways, plan, make_optimizer(job.model, job.settings), TrainState())


def copies(decoder: Path, folder: Path) -> dict[str, Any]:
    """Count the copies to the host in one update, by the number of layers and of rows."""
    found, places = {}, Counter[str]()
    for layers in (2, 6):
        base = folder / f"layers-{layers}"
        config = LlamaConfig.from_pretrained(decoder, num_hidden_layers=layers)
        LlamaForCausalLM(config).save_pretrained(base)
        for file in decoder.glob("*token*"):
            (base / file.name).write_bytes(file.read_bytes())
        for count in (4, 16):
            job, _ = job_of(base, folder / f"step-{layers}-{count}", rows_of(count))
            assert "packed" in str(job.layout.name), job.layout.name
            training = begun(job, count)
            with counted() as seen:
                loop._gradients(training, range(count))
                torch.nn.utils.clip_grad_norm_(job.model.parameters(), 1.0).item()
            found[f"{layers} layers, {count} rows"] = seen.total()
            places += seen
    return {"copies in a step": found, "places": dict(places)}


def decoding(base: Path) -> dict[str, Any]:
    """Decode a few answers by ourselves, and count the copies for each token."""
    _, engine = job_of(base, base, rows_of(4))
    prompts = [replace(row, output_positions=(), targets=()) for row in rows_of(4)]
    ours = engine._decodes
    with counted() as seen:
        engine.generate(prompts)
    tokens = engine.max_new_tokens
    return {"decoded by ourselves": ours, "copies a token": seen.total() / tokens, "places of decoding": dict(seen)}


def resumed(base: Path, folder: Path) -> dict[str, Any]:
    """Train with dropout; train again, stop at the third update, and go on in another model."""
    weights = []
    for name, stop in (("whole", 0), ("parts", 3), ("parts", 0)):
        job, _ = job_of(base, folder / name, rows_of(24), batch_size=8, dropout=0.1)
        for event in train(job):
            if isinstance(event, Saved) and event.step == stop:
                break
        weights.append({name: one.detach().cpu() for name, one in job.model.named_parameters() if one.requires_grad})
    whole, _, parts = weights
    return {"resumed differs by": max(float((whole[name] - parts[name]).abs().max()) for name in whole)}


@contextmanager
def room(size: int) -> Iterator[None]:
    """Leave so many bytes free on the card."""
    CARD.capacity = CARD.held + size
    try:
        yield
    finally:
        CARD.capacity = TOTAL


def out_of_memory(base: Path, folder: Path) -> dict[str, Any]:
    """Train in a memory that one pass of all rows does not fit into, and in one that no pass fits into."""
    job, _ = job_of(base, folder / "small", rows_of(16))
    before = CARD.held
    CARD.peak = before
    job.layout.logits(job.model, job.rows)
    needed, halved, told = CARD.peak - before, False, ""
    for share in (0.8, 0.1):
        try:
            with room(int(share * needed)):
                kinds = {type(event) for event in _until_first_step(job)}
                halved |= Halved in kinds
        except TrainingError as error:
            told = str(error)
    return {"out of memory": {"halved": halved, "told": told}}


def _until_first_step(job: Job) -> Iterator[Any]:
    for event in train(job):
        yield event
        if isinstance(event, Stepped):
            return


def in_half(base: Path, folder: Path) -> dict[str, Any]:
    """Train on cards of two generations: in fp16 with scaled losses, and in bf16, where the kernel of lengths runs."""
    found, rows = {}, rows_of(16)
    loop.FIRST, varlen.varlen_attn, before = 2.0**30, (kernel := Kernel()), loop.FIRST
    for capability in ((0, 0), (7, 5), (8, 0)):
        CARD.capability = capability
        device_attention._capability.cache_clear()
        precision = str(choose_precision(DEVICE).value)
        job, _ = job_of(base, folder / precision, rows, precision, epochs=20, patience=20)
        with counted() as seen:
            loop._gradients(begun(job, len(rows)), range(len(rows)))
        job.model.zero_grad()
        events = list(train(job))
        steps = [event for event in events if isinstance(event, Stepped)]
        weights = list(job.model.parameters())
        frozen = {str(one.dtype) for one in weights if not one.requires_grad and one.dim() == 2}
        found[precision] = {
            "losses": [event.loss for event in steps],
            "overflowed": sum(isinstance(event, Overflowed) for event in events),
            "frozen": sorted(frozen),
            "trained": sorted({str(one.dtype) for one in weights if one.requires_grad}),
            "kernel": len(kernel.calls),
            "copies": seen.total(),
        }
    CARD.capability, loop.FIRST = (0, 0), before
    return {"in half": found}


def named() -> dict[str, Any]:
    """Return how the card presents itself."""
    try:
        choose_device("cuda:3")
    except KamertonError as error:
        choices = str(error).rpartition("choose one of: ")[2].split(", ")
    return {"name": name_of(DEVICE), "peak": peak_bytes(DEVICE), "choices": choices}


if __name__ == "__main__":
    main(*sys.argv[1:])
