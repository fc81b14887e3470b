"""The proof of what transformers and PEFT load: the logits of a fresh process without Kamerton."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from kamerton.core.children import run_python
from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original
from kamerton.core.figures import Figure
from kamerton.core.messages import msg
from kamerton.core.readers import read_object
from kamerton.models import fresh
from kamerton.models.quantize import FILE
from kamerton.models.saved import is_adapter
from kamerton.plugins.exports._shared import differing

TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest of all, in fp32."""


def prove_loaded(original: Original, folder: Path, exact: bool) -> ExportProof:
    """Load a folder in a fresh process, and compare its logits with the run's.

    Raises:
        Unusable: it cannot be loaded, or differs although it must be exact.
    """
    over = is_adapter(folder)
    job = {
        "folder": str(folder.absolute()),
        "auto": original.form.model_class,
        "base": str(Path(original.facts.folder).absolute()) if over else None,
        "config": dict(original.form.config),
        "module": type(original.method).__module__ if over and original.method.brings_type else "",
        "quantization": read_object(folder / FILE) if (folder / FILE).exists() else None,
        "tokens": len(original.tokenizer),
    }
    difference = difference_of(original.logits, _asked(job, original.inputs))
    if exact:
        require_close(difference, TOLERANCE)
    return ExportProof(len(original.inputs), difference)


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
            raise Unusable(msg("the exported model cannot be loaded: {error}", error=last))
        return load_file(paths["logits"])


def difference_of(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Return the largest difference relative to the largest logit; infinite where shapes differ."""
    if {n: v.shape for n, v in wanted.items()} != {n: v.shape for n, v in found.items()}:
        return float("inf")
    largest = max(float(values.abs().max()) for values in wanted.values())
    apart = max(float((values - found[name]).abs().max()) for name, values in wanted.items())
    return apart / (largest or 1.0)


def require_close(difference: float, tolerance: float) -> None:
    """Raise `Unusable` if logits differ by more than the tolerance, or are not numbers."""
    if not difference <= tolerance:
        apart = Figure(difference, "share")
        raise differing(msg("its logits differ from the run's by up to {share} of the largest", share=apart))
