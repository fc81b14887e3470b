"""Export a run's tuned model: write it to a temporary folder, test it in a fresh process, then rename the folder."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kamerton.core import registry
from kamerton.core.children import run_python
from kamerton.core.contracts import Export, Tuned
from kamerton.core.errors import Fault, RunError, reason_of
from kamerton.core.figures import Figure
from kamerton.core.files import appearing, permitting, write_json
from kamerton.core.messages import msg
from kamerton.core.readers import read_object
from kamerton.core.records import Encoded
from kamerton.deliver import fresh
from kamerton.engine.layout import decoder_inputs, padded_inputs
from kamerton.models.quantize import FILE
from kamerton.models.saved import is_adapter, load_saved
from kamerton.models.structure import is_encoder_decoder
from kamerton.runs.run import Run
from kamerton.session.engines import engine_of
from kamerton.session.setup import Setup, make_method, open_setup

OTHER_FOLDER = msg("choose another folder with --out")
_REMEDY = msg("the export was removed; please report this as a bug of Kamerton")
TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest of all, in fp32."""
DESCRIPTION = "export.json"
ROWS = 8
"""Test rows whose logits are compared."""


@dataclass(frozen=True)
class ExportProof:
    """How far the exported model's logits are from the run's own."""

    rows: int
    largest_relative_difference: float


@dataclass(frozen=True)
class Exported:
    """An exported model, compared with the run's own."""

    format: str
    folder: str
    bytes: int
    run: str
    task: str
    method: str
    model_class: str
    """transformers' auto class that loads it, or its base."""
    base: str | None
    """The base model that it needs; None if it is complete."""
    module: str
    """A module to import first, because it registers a type with PEFT; mostly empty."""
    temperature: float
    """What divides the logits for probabilities; 1 by default."""
    proof: ExportProof
    test_rows: int
    changed_answers: int | None
    """Test answers that differ from the run's; None where logits must be equal."""


def export_run(run: Run, word: str, out: Path | None) -> Exported:
    """Export a run's tuned model, test it, and describe it in `export.json`.

    Args:
        run: a finished one.
        word: the format.
        out: the folder; `exported/FORMAT` in the run's own if not given.

    Raises:
        RecipeError: there is no such format.
        RunError: the run is not finished, the folder exists, or the model cannot be exported to this format, or has
            other logits after it.
    """
    registry.allow(word)
    export: Export = registry.choose("exports", word)()
    task, target = run.result["task"], out or run.path / "exported" / word
    with permitting(run.files.mode), _new_folder(target) as folder:
        setup = open_setup(run)
        method = make_method(setup.recipe)
        saved = run.checked_model()
        model = load_saved(saved, setup.form, setup.facts, setup.tokenizer, setup.device)
        tuned = Tuned(saved, model, setup.tokenizer, method)
        proof = _write_and_prove(export, tuned, folder, setup)
        over = is_adapter(folder)
        exported = Exported(
            format=word,
            folder=str(target),
            bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            run=str(run.path),
            task=task,
            method=setup.recipe.method.name or "",
            model_class=setup.form.model_class,
            base=setup.facts.folder if over else None,
            module=_module(tuned, folder),
            temperature=run.temperature,
            proof=proof,
            test_rows=len(setup.split.test),
            changed_answers=None if export.is_exact(method) else _changed(run, setup, folder),
        )
        write_json(folder / DESCRIPTION, asdict(exported))
    return exported


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that appears as `folder` on success.

    Raises:
        RunError: `folder` exists, or cannot be made.
    """
    if folder.exists():
        raise RunError(Fault(msg("'{folder}' exists already", folder=str(folder)), remedy=OTHER_FOLDER))
    try:
        with appearing(folder) as temporary:
            yield temporary
    except OSError as error:
        rule = msg("the folder cannot be written: {reason}", reason=error.strerror or str(error))
        raise RunError(Fault(rule, str(folder), OTHER_FOLDER)) from None


def inputs_of(model: nn.Module, items: Sequence[Encoded]) -> list[dict[str, Tensor]]:
    """Return the inputs of the model's forward pass for each row."""
    two = is_encoder_decoder(model)
    return [{**padded_inputs(model, [one]), **(decoder_inputs(model, [one]) if two else {})} for one in items]


def _write_and_prove(export: Export, tuned: Tuned, folder: Path, setup: Setup) -> ExportProof:
    """Write the model, load it in a fresh process without Kamerton, and compare logits; merging may change `tuned`."""
    inputs = inputs_of(tuned.model, setup.encode(setup.split.test[:ROWS]))
    wanted = fresh.logits_of(tuned.model, inputs)
    try:
        export.write(tuned, folder)
    except ValueError as error:
        raise RunError(Fault(reason_of(error), str(tuned.folder), msg("export it in another format"))) from error
    job = {
        "folder": str(folder.absolute()),
        "auto": setup.form.model_class,
        "base": str(Path(setup.facts.folder).absolute()) if is_adapter(folder) else None,
        "config": dict(setup.form.config),
        "module": _module(tuned, folder),
        "quantization": read_object(folder / FILE) if (folder / FILE).exists() else None,
        "tokens": len(tuned.tokenizer),
    }
    difference = _difference(wanted, _asked(job, inputs))
    if export.is_exact(tuned.method) and not difference <= TOLERANCE:
        apart = Figure(difference, "share")
        rule = msg("the exported model's logits differ from the run's, by up to {share} of the largest", share=apart)
        raise RunError(Fault(rule, str(tuned.folder), _REMEDY))
    return ExportProof(len(inputs), difference)


def _module(tuned: Tuned, folder: Path) -> str:
    """Return the module to import before an adapter is loaded, if its method registers a type with PEFT."""
    return type(tuned.method).__module__ if is_adapter(folder) and tuned.method.brings_type else ""


def _asked(job: Mapping[str, Any], inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the logits of the exported model in a process without Kamerton."""
    with tempfile.TemporaryDirectory(prefix=".", dir=job["folder"]) as place:
        paths = {name: str(Path(place) / f"{name}.safetensors") for name in ("inputs", "logits")}
        tensors = {f"{i}.{name}": values.cpu() for i, row in enumerate(inputs) for name, values in row.items()}
        save_file(tensors, paths["inputs"])
        program = Path(place) / "job.json"
        program.write_text(json.dumps({**job, **paths, "rows": len(inputs)}), encoding="utf-8")
        child = run_python(fresh.__file__, str(program))
        if child.returncode:
            last = child.stderr.strip().rpartition("\n")[2]
            rule = msg("the exported model cannot be loaded: {error}", error=last)
            raise RunError(Fault(rule, job["folder"], _REMEDY))
        return load_file(paths["logits"])


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Return the largest difference relative to the largest logit; infinite where shapes differ."""
    if {n: v.shape for n, v in wanted.items()} != {n: v.shape for n, v in found.items()}:
        return float("inf")
    largest = max(float(values.abs().max()) for values in wanted.values())
    apart = max(float((values - found[name]).abs().max()) for name, values in wanted.items())
    return apart / (largest or 1.0)


def _changed(run: Run, setup: Setup, folder: Path) -> int:
    engine = engine_of(setup, load_saved(folder, setup.form, setup.facts, setup.tokenizer, setup.device))
    [tuned] = [answers for answers in run.read_answers() if answers.kind == "tuned"]
    again = setup.form.predict(engine, setup.split.test)
    return sum(one.text != other.text for one, other in zip(tuned.predictions, again, strict=True))
