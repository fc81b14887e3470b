"""A tuned model in another folder and form: written beside, proven in a fresh process, and only then there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kamerton.core.contracts import Export, ModelHead, Tuned
from kamerton.core.errors import Fault, RunError
from kamerton.core.files import Writing, read_json, sync_folder
from kamerton.core.records import Encoded
from kamerton.deliver import fresh
from kamerton.engine.layout import decoder_inputs, padded_inputs
from kamerton.models.quantize import FILE
from kamerton.models.saved import is_adapter
from kamerton.models.structure import is_encoder_decoder

TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest of all, in fp32."""


@dataclass(frozen=True)
class Proof:
    """How far the exported model's logits are from the run's own."""

    rows: int
    largest_relative_difference: float


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes its name when all has gone well, and else is gone.

    Raises:
        RunError: there is something of that name, or the folder cannot be made.
    """
    if folder.exists():
        raise RunError(Fault(f"'{folder}' is there already", remedy="choose another folder with --out"))
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with Writing(folder):
            yield temporary
            temporary.replace(folder)
            sync_folder(folder.parent)
    except OSError as error:
        rule = f"the folder cannot be written: {error.strerror}"
        raise RunError(Fault(rule, str(folder), "choose another folder with --out")) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inputs_of(model: nn.Module, items: Sequence[Encoded]) -> list[dict[str, Tensor]]:
    """Give what each row is to the model's own forward pass."""
    two = is_encoder_decoder(model)
    return [{**padded_inputs(model, [one]), **(decoder_inputs(model, [one]) if two else {})} for one in items]


def write_and_prove(
    export: Export, tuned: Tuned, folder: Path, form: ModelHead, base: Path, rows: Sequence[Encoded]
) -> Proof:
    """Write the model, load it in a fresh process without Kamerton, and compare its logits with the run's.

    Args:
        export: the form.
        tuned: the run's model; merging may change it.
        folder: where to.
        form: the task's form, which names the model's class.
        base: folder of the base model.
        rows: some to answer.

    Raises:
        RunError: the model cannot take this form, or gives other logits in it.
    """
    inputs = inputs_of(tuned.model, rows)
    wanted = fresh.logits_of(tuned.model, inputs)
    try:
        export.write(tuned, folder)
    except ValueError as error:
        raise RunError(Fault(str(error), str(tuned.folder), "export it in another form")) from error
    found = _asked(_job(tuned, folder, form, base), inputs)
    difference = _difference(wanted, found)
    if export.is_exact(tuned.method) and not difference <= TOLERANCE:
        rule = f"the exported model gives other logits than the run's, by up to {difference:.2g} of the largest"
        raise RunError(Fault(rule, str(tuned.folder), _REMEDY))
    return Proof(len(rows), difference)


def _job(tuned: Tuned, folder: Path, form: ModelHead, base: Path) -> dict[str, Any]:
    over = is_adapter(folder)
    return {
        "folder": str(folder.absolute()),
        "auto": form.model_class,
        "base": str(base.absolute()) if over else None,
        "config": dict(form.config),
        "module": type(tuned.method).__module__ if over and tuned.method.brings_type else "",
        "quantization": read_json(folder / FILE) if (folder / FILE).exists() else None,
        "tokens": len(tuned.tokenizer),
    }


def _asked(job: Mapping[str, Any], inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Let a process that knows nothing of Kamerton load the model and answer."""
    with tempfile.TemporaryDirectory() as place:
        paths = {name: str(Path(place) / f"{name}.safetensors") for name in ("inputs", "logits")}
        tensors = {f"{i}.{name}": values.cpu() for i, row in enumerate(inputs) for name, values in row.items()}
        save_file(tensors, paths["inputs"])
        program = Path(place) / "job.json"
        program.write_text(json.dumps({**job, **paths, "rows": len(inputs)}), encoding="utf-8")
        command = [sys.executable, "-P", fresh.__file__, str(program)]
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if child.returncode:
            last = child.stderr.strip().rpartition("\n")[2]
            raise RunError(Fault(f"the exported model cannot be loaded: {last}", job["folder"], _REMEDY))
        return load_file(paths["logits"])


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Give the largest difference relative to the largest logit; infinite where shapes differ."""
    if {n: v.shape for n, v in wanted.items()} != {n: v.shape for n, v in found.items()}:
        return float("inf")
    largest = max(float(values.abs().max()) for values in wanted.values())
    apart = max(float((values - found[name]).abs().max()) for name, values in wanted.items())
    return apart / (largest or 1.0)


_REMEDY = "do not use what was exported, which was taken away; it is a fault of Kamerton"
