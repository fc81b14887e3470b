"""How to use the tuned model: commands and a Python program, from the format of its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kamerton.core import registry
from kamerton.core.files import shell_word
from kamerton.core.readers import parse_json
from kamerton.models.naming import architecture, read_settings
from kamerton.runs.run import MODEL, Run

TASK_TYPES = {"SEQ_CLS": "SequenceClassification", "CAUSAL_LM": "CausalLM"}
"""PEFT's words for the heads of transformers' auto classes."""


@dataclass(frozen=True)
class Usage:
    """The parts of the commands and of the Python program."""

    run: str
    """The run's folder, quoted for a shell."""
    folder: str
    """The model's folder, as a Python string."""
    package: str
    """The Python package that loads it."""
    head: str
    """The head of its auto class: `SequenceClassification`; empty if there is no program to show."""
    labels: str
    """The classes, as a Python list."""
    module: str
    """The module that must be imported first because it registers a PEFT type; mostly empty."""
    quantized: bool
    """Whether the base below the adapter was in four bits."""
    replaces: bool = False
    """Whether the base below the adapter has a head of its own, perhaps of another size."""


def usage(run: Run, labels: Sequence[str]) -> Usage:
    """Return how this run's model is loaded."""
    adapter = _settings(run, "adapter_config.json")
    word = run.recipe.method.name
    method = registry.choose("methods", word) if adapter and word else None
    base = Path(str(adapter.get("base_model_name_or_path") or "")) / "config.json"
    saved = architecture(read_settings(base) if adapter and base.exists() else _settings(run, "config.json"))
    plain = next((head for head in TASK_TYPES.values() if saved.endswith(f"For{head}")), "")
    return Usage(
        run=shell_word(run.path),
        folder=repr(str(run.model)),
        package="peft" if adapter else "transformers",
        head=TASK_TYPES.get(str(adapter.get("task_type")), "") if adapter else plain,
        labels=repr(list(labels)),
        module=str(method.__module__) if method and method.brings_type else "",
        quantized=(run.model / "base_quantization.json").exists(),
        replaces=bool(adapter) and saved.endswith("Classification"),
    )


def _settings(run: Run, name: str) -> dict[str, Any]:
    """Return a configuration in the model's folder, checked; empty if there is none."""
    file = f"{MODEL}/{name}"
    return dict(parse_json(run.files.read(file), run.path / file)) if run.files.exists(file) else {}
