"""Export a tuned model: write it to a temporary folder, test it in a fresh process, then rename the folder."""

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
from kamerton.core.errors import Fault, RunError, reason_of
from kamerton.core.figures import Figure
from kamerton.core.files import Writing, read_json, sync
from kamerton.core.messages import msg
from kamerton.core.records import Encoded
from kamerton.deliver import fresh
from kamerton.engine.layout import decoder_inputs, padded_inputs
from kamerton.models.quantize import FILE
from kamerton.models.saved import is_adapter
from kamerton.models.structure import is_encoder_decoder

OTHER_FOLDER = msg("choose another folder with --out")
_REMEDY = msg("the export was removed; please report this as a bug of Kamerton")
TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest of all, in fp32."""


@dataclass(frozen=True)
class ExportProof:
    """How far the exported model's logits are from the run's own."""

    rows: int
    largest_relative_difference: float


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `folder` on success, and removed on failure.

    Raises:
        RunError: `folder` exists, or cannot be made.
    """
    if folder.exists():
        raise RunError(Fault(msg("'{folder}' exists already", folder=str(folder)), remedy=OTHER_FOLDER))
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with Writing(folder):
            yield temporary
            temporary.replace(folder)
            sync(folder.parent)
    except OSError as error:
        rule = msg("the folder cannot be written: {reason}", reason=error.strerror or str(error))
        raise RunError(Fault(rule, str(folder), OTHER_FOLDER)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inputs_of(model: nn.Module, items: Sequence[Encoded]) -> list[dict[str, Tensor]]:
    """Return the inputs of the model's forward pass for each row."""
    two = is_encoder_decoder(model)
    return [{**padded_inputs(model, [one]), **(decoder_inputs(model, [one]) if two else {})} for one in items]


def write_and_prove(
    export: Export, tuned: Tuned, folder: Path, form: ModelHead, base: Path, rows: Sequence[Encoded]
) -> ExportProof:
    """Write the model, load it in a fresh process without Kamerton, and compare its logits with the run's.

    Args:
        export: the format.
        tuned: the run's model; merging may change it.
        folder: the target.
        form: the task's form, which names the model's class.
        base: folder of the base model.
        rows: test inputs.

    Raises:
        RunError: the model cannot be exported like this, or has other logits after it.
    """
    inputs = inputs_of(tuned.model, rows)
    wanted = fresh.logits_of(tuned.model, inputs)
    try:
        export.write(tuned, folder)
    except ValueError as error:
        raise RunError(Fault(reason_of(error), str(tuned.folder), msg("export it in another format"))) from error
    found = _asked(_job(tuned, folder, form, base), inputs)
    difference = _difference(wanted, found)
    if export.is_exact(tuned.method) and not difference <= TOLERANCE:
        apart = Figure(difference, "share")
        rule = msg("the exported model's logits differ from the run's, by up to {share} of the largest", share=apart)
        raise RunError(Fault(rule, str(tuned.folder), _REMEDY))
    return ExportProof(len(rows), difference)


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
    """Return the logits of the exported model in a process without Kamerton."""
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
