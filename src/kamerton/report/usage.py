"""How to use the tuned model: commands and a Python program, from the format of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kamerton.core import registry
from kamerton.core.files import read_json, shell_word
from kamerton.runs.run import Run

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
    adapter = (run.model / "adapter_config.json").exists()
    head = _adapter_head(run.model) if adapter else _plain_head(run.model)
    library = "peft" if adapter else "transformers"
    return Usage(
        run=shell_word(run.path),
        folder=repr(str(run.model)),
        package=library,
        head=head,
        labels=repr(list(labels)),
        module=_brought_by(run.recipe.method.name or "") if adapter else "",
        quantized=(run.model / "base_quantization.json").exists(),
        replaces=adapter and _base_of(run.model).endswith("Classification"),
    )


def _brought_by(method: str) -> str:
    """Return the module of a method whose adapters PEFT does not know by itself."""
    chosen = registry.choose("methods", method)
    return str(chosen.__module__) if chosen.brings_type else ""


def _adapter_head(folder: Path) -> str:
    return TASK_TYPES.get(str(read_json(folder / "adapter_config.json").get("task_type")), "")


def _base_of(adapter: Path) -> str:
    """Return the class that an adapter's base was saved as, if it is on this machine."""
    path = Path(read_json(adapter / "adapter_config.json").get("base_model_name_or_path") or "") / "config.json"
    return str((read_json(path).get("architectures") or [""])[0]) if path.exists() else ""


def _plain_head(folder: Path) -> str:
    if not (folder / "config.json").exists():
        return ""
    architectures = read_json(folder / "config.json").get("architectures") or [""]
    return next((head for head in TASK_TYPES.values() if architectures[0].endswith(f"For{head}")), "")
