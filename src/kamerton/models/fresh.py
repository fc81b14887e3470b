"""Load a model with transformers and PEFT only, and compute its logits: a separate program.

python -P fresh.py JOB.json    the job names the model, the inputs, and the file for the logits
"""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LAST = 32
"""Last positions that are kept: logits over a vocabulary for a whole text would take gigabytes."""


def logits_of(model: nn.Module, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Run rows one by one through a model's forward pass; return all logits at the last positions."""
    found, device = {}, next(model.parameters()).device  # of four bits, it is loaded onto an accelerator
    model.eval()
    known: Any = model
    # what has only linear attention cannot count its cache
    uncached = {"use_cache": False} if "use_cache" in known.config.get_text_config().to_dict() else {}
    with torch.no_grad():
        for number, row in enumerate(rows):
            for name, values in model(**{key: values.to(device) for key, values in row.items()}, **uncached).items():
                if name.endswith("logits"):
                    kept = values[:, -LAST:] if values.dim() > 2 else values
                    found[f"{number}.{name}"] = kept.float().cpu().contiguous()
    return found


def load(job: Mapping[str, Any]) -> nn.Module:
    """Load a folder: a whole model, or an adapter over its base."""
    transformers: Any = importlib.import_module("transformers")
    auto = getattr(transformers, job["auto"])
    sys.modules["kernels"] = None  # type: ignore[assignment]  # bitsandbytes would run code of the Hub
    kept = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    if job["base"] is None:
        return auto.from_pretrained(job["folder"], **kept)
    if job["module"]:
        importlib.import_module(job["module"])  # registers a type with PEFT
    if job["quantization"]:
        kept["quantization_config"] = transformers.BitsAndBytesConfig.from_dict(job["quantization"])
    # a base may have a head of another size: the adapter has its own
    base = auto.from_pretrained(job["base"], **kept, **job["config"], ignore_mismatched_sizes=True)
    for module in base.modules():
        if "support_avx512bf16_for_cpu" in vars(module):
            module.support_avx512bf16_for_cpu = False  # else some CPUs multiply four bits in bf16
    if job["tokens"] > len(base.get_input_embeddings().weight):
        base.resize_token_embeddings(job["tokens"], mean_resizing=False)
    return importlib.import_module("peft.peft_model").PeftModel.from_pretrained(base, job["folder"])


def main(path: str) -> None:
    """Run a job."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    rows: list[dict[str, Tensor]] = [{} for _ in range(job["rows"])]
    for name, values in load_file(job["inputs"]).items():
        number, _, key = name.partition(".")
        rows[int(number)][key] = values
    save_file(logits_of(load(job), rows), job["logits"])


if __name__ == "__main__":
    main(sys.argv[1])
