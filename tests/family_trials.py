"""A trial of a family: a tiny model of random weights is tuned by several methods, exported, and its layout explained.

It runs in a process of its own, since a model may crash it, fill its memory or never end.
"""

from __future__ import annotations

import json
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from children import Nursery
from crossing import SETTINGS, Cell
from kamerton.core import registry
from kamerton.core.errors import KamertonError, Unusable
from kamerton.core.exporting import Tuned
from kamerton.core.records import Encoded
from kamerton.deliver.export import inputs_of
from kamerton.engine.layout import Packed, in_mode
from kamerton.engine.verify import TOLERANCE
from kamerton.models import fresh
from kamerton.models.inspect import OTHER_SENSES
from kamerton.models.saved import load_saved
from kamerton.models.structure import outer_model, short_row
from kamerton.pipeline.freeze import freeze
from kamerton.pipeline.training import tuned_engine
from kamerton.runs.run import Run
from kamerton.session.new_run import new_run
from kamerton.session.setup import Clock, Setup, make_method, open_setup
from tiny_families import ENCODER_DECODER, HEADS, HIDING, WRITERS, kind_of, tiny_family

TEXT_FAMILIES = tuple(sorted({*HEADS, *WRITERS, *ENCODER_DECODER, *HIDING}))
"""All that transformers has with a head for texts or for labels of texts."""
METHODS = ("lora", "full", "prompt-tuning")
EXPORTS = ("adapter", "merged")
"""What transformers and PEFT load."""
TASKS = {"encoder": "text-classification", "decoder": "instruction", "seq2seq": "instruction"}
AUTO: dict[str, Any] = {"encoder": AutoModel, "decoder": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}
QUICK = {**SETTINGS, "train.epochs": 1}
WORKS, FAILED = "works", "failed: "
SECONDS, MEMORY = 120, 10 << 30
"""What a trial may take, in seconds of a processor and bytes of addresses."""
LARGEST = 30_000_000
"""Weights of a model that is still tiny."""


@dataclass
class Trial:
    """What became of a family."""

    family: str
    kind: str = ""
    unbuilt: str = ""
    """Why no tiny model of it can be made."""
    layout: str = ""
    unpacked: str = ""
    """Why it is not packed."""
    methods: dict[str, str] = field(default_factory=dict)
    """`works`, the refusal, or how it failed."""
    exports: dict[str, str] = field(default_factory=dict)
    """Of the low-rank updates, or of the first method that works."""

    @property
    def works(self) -> bool:
        """Whether some method tunes it."""
        return WORKS in self.methods.values()

    @property
    def failures(self) -> list[str]:
        """What is neither works nor a refusal."""
        every = {**self.methods, **self.exports}
        return [f"{word}: {said}" for word, said in every.items() if said.startswith(FAILED)]


def try_family(family: str, nursery: Nursery, folder: Path, methods: Sequence[str] = METHODS) -> Trial:
    """Try a family in a process of its own."""
    folder.mkdir()
    ended = nursery.run("family_trials:main", family, list(methods), cwd=folder)
    written = folder / "trial.json"
    trial = Trial(**json.loads(written.read_text(encoding="utf-8"))) if written.exists() else Trial(family)
    if ended.status:
        trial.methods[methods[len(trial.methods) % len(methods)]] = f"{FAILED}the process ended with {ended.status}"
    return trial


def main(family: str, methods: Sequence[str]) -> None:
    """Try a family in the current folder, and write what became of it after each step."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of work: however busy the machine is
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trial = Trial(family)

    def note() -> None:
        Path("trial.json").write_text(json.dumps(asdict(trial), ensure_ascii=False), encoding="utf-8")

    try:
        _build(trial, Path("model"))
    except Exception as error:  # noqa: BLE001  # whatever it is, the page says it
        trial.unbuilt = trial.unbuilt or _short(error)
        return note()
    for method in methods:
        trial.methods[method] = _outcome(lambda method=method: _tune(trial, method))
        note()


def _build(trial: Trial, folder: Path) -> None:
    """Save the tiny model. Raises what transformers does, or `ValueError` with the reason."""
    config = AutoConfig.for_model(trial.family)
    if senses := [name for name in OTHER_SENSES if name in config.to_dict()]:
        trial.unbuilt = f"it takes more than text ({senses[0]})"
        raise ValueError(trial.unbuilt)
    trial.kind = kind_of(trial.family)
    tiny_family(trial.family, folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) // 4
    if size > LARGEST:
        raise ValueError(f"its smallest size has {size / 1e6:.0f} million weights")
    model = AUTO[trial.kind].from_pretrained(folder)
    with torch.no_grad():
        model(**short_row(model))


def _outcome(work: Callable[[], None]) -> str:
    """Do some work; return `works`, the refusal, or how it failed."""
    try:
        work()
    except KamertonError as error:
        return " ".join(str(error.faults[0].rule).split())
    except Unusable as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what the page is made to show
        traceback.print_exc()
        return FAILED + _short(error)
    return WORKS


def _tune(trial: Trial, method: str) -> None:
    """Tune by a method, and let the first that works explain the layout and export."""
    run, setup = _begin(trial.kind, method)
    clock, updates = Clock(run), 0
    try:
        telling = tuned_engine(run, setup, clock)
        while True:
            updates += type(next(telling)).__name__ == "Stepped"
    except StopIteration as end:
        engine = end.value
    except KamertonError as error:
        if updates:
            raise RuntimeError(f"refused too late: {error}") from error
        raise
    setup.form.predict(engine, setup.split.test[:3])
    if not trial.layout:
        trial.layout = str(engine.layout.name).partition(":")[0]
        if trial.kind != "seq2seq" and not trial.layout.startswith(("packed", "several")):
            trial.unpacked = _unpacked(engine.model, setup)
        trial.exports = {word: _outcome(lambda word=word: _export(run, setup, word)) for word in EXPORTS}


def _begin(kind: str, method: str) -> tuple[Run, Setup]:
    """Begin a run. Raises `KamertonError` if it is refused."""
    cell = Cell(TASKS[kind], method, Path("model").absolute())
    data, rows = Path(f"{method}.jsonl"), cell.data
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    named = {"data.task": cell.task, "method.name": method, "model.name": str(cell.model)}
    columns = {key: key for row in rows for key in row}
    run = new_run(data, Path(f"run-{method}"), {**named, "data.columns": columns, **QUICK})
    for _ in freeze(run, Clock(run)):
        pass
    return run, open_setup(run)


def _unpacked(model: torch.nn.Module, setup: Setup) -> str:
    """Say why a packed row does not give the model's own results."""
    if outer_model(model)._is_stateful:
        return "it carries a state from token to token"
    items = [sequence for item in setup.encode(setup.split.test[:2]) for sequence in item.sequences]
    said = []
    with in_mode(model, training=False), torch.no_grad():
        alone = torch.cat([_own(model, item) for item in items])
        for offset in sorted({0, (model.config.get_text_config().pad_token_id or 0) + 1}):
            try:
                far = (Packed(offset).logits(model, items) - alone).abs().max() / alone.abs().max()
            except Exception as error:  # noqa: BLE001  # the reason, whatever it is
                said.append(_short(error))
            else:
                said.append(f"its results would differ by {float(far):.2g}" if far > TOLERANCE else "")
    return min(said, key=len) if "" in said else said[0]


def _own(model: torch.nn.Module, item: Encoded) -> torch.Tensor:
    """Return a row's logits by the model's own forward pass, at its output positions."""
    logits = model(input_ids=torch.tensor([item.tokens])).logits
    return logits if logits.dim() == 2 else logits[0, list(item.output_positions)]


def _export(run: Run, setup: Setup, word: str) -> None:
    """Export the run's model, load it with transformers and PEFT alone, and compare logits."""
    model = load_saved(run.model, setup.form, setup.facts, setup.tokenizer)
    inputs = inputs_of(model, [sequence for one in setup.encode(setup.split.test[:2]) for sequence in one.sequences])
    wanted, out = fresh.logits_of(model, inputs), Path(f"exported-{word}")
    method, parts = make_method(setup.recipe), (setup.form, setup.facts)
    registry.choose("exports", word)().write(Tuned(run.model, model, setup.tokenizer, method, *parts), out)
    base = setup.facts.folder if (out / "adapter_config.json").exists() else None
    job: dict[str, Any] = {"folder": str(out), "auto": setup.form.model_class, "base": base, "module": ""}
    job |= {"quantization": None, "config": dict(setup.form.config), "tokens": 0}
    found = fresh.logits_of(fresh.load(job), inputs)
    largest = max(float(values.abs().max()) for values in wanted.values())
    far = max(float((found[name] - values).abs().max()) for name, values in wanted.items()) / (largest or 1.0)
    if far > TOLERANCE:
        raise ArithmeticError(f"logits differ by {far:.2g}")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:240]
