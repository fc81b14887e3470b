"""Write a saved model as ONNX with transformers' own exporter: a separate program, for it changes torch while it runs.

python -P _to_onnx.py JOB.json    the job names the model, its auto class, its inputs, and the file to write
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

EXAMPLE = 2, 7
"""Rows and tokens of the inputs that are traced; both are free in the graph."""


MOST_INSIDE = 4 << 30
"""Bytes of full weights whose rounded ones still fit into one file: a protobuf message ends at 2 GB."""


def main(path: str) -> None:
    """Run a job."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    transformers: Any = importlib.import_module("transformers")
    model = getattr(transformers, job["auto"]).from_pretrained(
        job["folder"], dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    model.eval().config.use_cache = False
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=job["context"])}
    inputs = {name: torch.ones(EXAMPLE, dtype=torch.long) for name in job["inputs"]}
    inputs = {name: values if name != "token_type_ids" else values * 0 for name, values in inputs.items()}
    config = OnnxConfig(dynamic=True, dynamic_shapes=dict.fromkeys(inputs, free))
    with torch.no_grad():
        OnnxExporter.save_program(OnnxExporter().export(model, inputs, config=config).program, Path(job["out"]))
    if job["int8"]:
        round_to_int8(Path(job["out"]))


def round_to_int8(path: Path) -> None:
    """Round a graph's matrices to 8 bits; activations are rounded while it runs."""
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    plain = path.with_name(f"plain-{path.name}")
    data = path.with_name(f"{path.name}.data")
    path.rename(plain)
    beside = data.stat().st_size > MOST_INSIDE
    quantization.quantize_dynamic(
        plain, path, weight_type=quantization.QuantType.QInt8, use_external_data_format=beside
    )
    plain.unlink()
    data.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
