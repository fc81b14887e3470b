"""The contract of exports: what they get of a run, what they write, and how it is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kamerton.core.contracts import Engine, Form, Method, ModelFacts, Tokenizer
from kamerton.core.messages import Wording
from kamerton.core.records import Encoded, Example

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@dataclass(frozen=True)
class Original:
    """What an exported model is compared with: the run's own, on a few test rows."""

    form: Form
    facts: ModelFacts
    tokenizer: Tokenizer
    method: Method
    examples: Sequence[Example]
    items: Sequence[Encoded]
    """The same rows with their answers."""
    inputs: Sequence[Mapping[str, Tensor]]
    """Of the model's forward pass, row by row."""
    logits: Mapping[str, Tensor]
    """`{row}.{output}`: the model's logits at the last positions of each row, of `[batch, positions, classes]`."""
    untuned: Callable[[], Mapping[str, Tensor]]
    """Computes the same of the base model as it is, where that has the same head."""
    loaded: Callable[[Path], Engine]
    """Loads a folder that transformers or PEFT can load."""
    max_tokens: int
    max_new_tokens: int


@dataclass(frozen=True)
class Tuned:
    """A run's tuned model, to be exported."""

    folder: Path
    """Where the run keeps it, as transformers or PEFT load it."""
    model: nn.Module
    """Loaded, with its base below it."""
    tokenizer: Tokenizer
    method: Method
    """The one that it was tuned by."""
    form: Form
    facts: ModelFacts
    """Of its base."""
    inputs: Sequence[str] = ("input_ids", "attention_mask")
    """Of its forward pass, on the run's rows."""


@dataclass(frozen=True)
class ExportProof:
    """How far an exported model is from the run's own, on a few test rows."""

    rows: int
    largest_relative_difference: float | None
    """Of a logit, relative to the largest of all; None where whole distributions are compared, or nothing was."""
    engine: str = "transformers"
    """What computed the exported model's answers; empty if nothing did."""
    divergence: float | None = None
    """Largest Kullback-Leibler divergence of a next token's distribution from the run's, in nats."""
    from_untuned: float | None = None
    """Mean divergence of the run's distributions from those of the base model, in nats."""
    texts: int = 0
    """Texts and conversations that the engine tokenizes as the run does."""
    unproven: Wording = ""
    """Why the engine that it is for has not tried it here, and how it can."""


@dataclass(frozen=True)
class FormatSetting:
    """A setting of a format."""

    name: str
    meaning: Wording
    usual: str
    """Its default as it is written; empty if it has none."""
    choices: tuple[str, ...]
    """What it can be; empty if that is free."""


@dataclass(frozen=True)
class FormatChoice:
    """A format of exports, for one run's model."""

    name: str
    what: Wording
    settings: tuple[FormatSetting, ...]
    refusal: Wording = ""
    """Why it cannot take the model; empty if it can."""


class Export(Protocol):
    """One format of an exported model. A frozen pydantic model of its own settings (`--set NAME=VALUE`)."""

    def refuses(self, tuned: Tuned) -> Wording:
        """Return why the model cannot be exported so, and what can take it; an empty string if it can."""

    def room(self, tuned: Tuned) -> int:
        """Return about how many bytes `write` needs on the disk."""

    def write(self, tuned: Tuned, folder: Path) -> Sequence[str]:
        """Write the model into a new folder; `tuned.model` may be used up. Return command lines that use it.

        Raises `Unusable` with the reason if that is impossible.
        """

    def prove(self, original: Original, folder: Path) -> ExportProof:
        """Run the exported model in the engine that it is for. Raises `Unusable` if it is not the run's."""

    def engine(self, original: Original, folder: Path) -> Engine | None:
        """Return what answers rows with an exported model that is rounded; None if it must answer as the run does."""
