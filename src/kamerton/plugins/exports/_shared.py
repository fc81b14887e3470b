"""What exports share: their base, how engines are looked for, and how a proof fails."""

import importlib.util
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from kamerton.core.contracts import Engine
from kamerton.core.errors import Unusable
from kamerton.core.exporting import ExportProof, Original, Tuned
from kamerton.core.messages import Message, Wording, msg

WEIGHT = 4
"""Bytes of a number in full precision."""
SPARE = 64 << 20
"""Bytes for tokenizers, graphs and descriptions."""


class Exporting(BaseModel):
    """Base of every export: frozen settings, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def refuses(self, tuned: Tuned) -> Wording:
        """Refuse nothing before it is tried."""
        return ""

    def room(self, tuned: Tuned) -> int:
        """Return the bytes of all weights in full precision."""
        return WEIGHT * tuned.facts.parameters + SPARE

    def engine(self, original: Original, folder: Path) -> Engine | None:
        """Return None: the exported model must answer as the run does."""
        return None


def another(tuned: Tuned) -> str:
    """Return the flag of a format that takes every head: of an encoder-decoder, only plain weights do."""
    return "--to merged" if tuned.facts.kind == "seq2seq" else "--to onnx"


def merge(tuned: Tuned) -> PreTrainedModel:
    """Merge as the method does. Raises `Unusable` with the method's reason."""
    return tuned.method.merge(tuned.model)


def is_full(tuned: Tuned) -> bool:
    """Return whether the run keeps a whole model, and no adapter."""
    return isinstance(tuned.model, PreTrainedModel)


def copy_cards(tuned: Tuned, folder: Path) -> None:
    """Copy the model cards of the run's model."""
    for card in tuned.folder.glob("README*.md"):
        shutil.copyfile(card, folder / card.name)


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def unproven(library: str, extra: str) -> ExportProof:
    """Return that the export was not tried, because an engine is missing, and how it can be."""
    command = f"pip install 'kamerton[{extra}]'"
    rule = msg("not proven here, because {library} is not installed: {command}, then export again",
               library=library, command=command)  # fmt: skip
    return ExportProof(0, None, "", unproven=rule)


def differing(what: Message) -> Unusable:
    """Return the error of an export that is not the run's model."""
    return Unusable(msg("the exported model is not the run's: {difference}", difference=what))
