"""What forms do unless they have a reason to do something else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from kamerton.core.contracts import Engine, TooLong
from kamerton.core.records import Encoded, Example, Prediction, Turn
from kamerton.forms.supervision import supervised, target_losses

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WRITERS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
SUBSET = 8
"""Validation rows answered at each validation: writing costs a hundred times more than reading."""


class Usual(ABC):
    """Cut what is too long, teach targets by cross-entropy, write a few validation answers."""

    model_class: ClassVar[str]
    too_long: ClassVar[tuple[TooLong, ...]] = ("cut", "drop", "refuse")

    @property
    def config(self) -> Mapping[str, object]:
        """Need nothing in the model's configuration."""
        return {}

    @property
    def ends(self) -> bool:
        """End answers where the model writes them; a head has none to end."""
        return self.model_class in WRITERS

    def with_instruction(self, text: str) -> Self | None:
        """Take no instruction."""
        return None

    def to_messages(self, example: Example, shots: Sequence[Example]) -> Sequence[Turn]:
        """Say nothing in words."""
        return ()

    def parse(self, text: str) -> str:
        """Leave out the space around the answer."""
        return text.strip()

    def with_too_long(self, too_long: TooLong) -> Self:
        """Cut them, if anything: which rows pass is not the form's to say."""
        return self

    def start(self, model: PreTrainedModel, fresh: Sequence[str]) -> None:
        """Need nothing."""
        return

    def validation_subset(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Answer a few validation rows: answers must be written."""
        return examples[:SUBSET]

    def sequence_name(self, at: int, count: int) -> str:
        """Name a window."""
        return f"window {at + 1} of {count}"

    def supervised(self, item: Encoded) -> int:
        """Count the known targets of all sequences."""
        return sum(supervised(sequence) for sequence in item.sequences)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Give the cross-entropy of each item's targets, summed over its sequences: `[items]`, nats."""
        sequences = [sequence for item in items for sequence in item.sequences]
        owners = [at for at, item in enumerate(items) for _ in item.sequences]
        losses = target_losses(logits, sequences)
        return losses.new_zeros(len(items)).index_add(0, losses.new_tensor(owners).long(), losses)

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Need nothing of the untuned model."""
        return list(items)

    @abstractmethod
    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Answer with the base model as it is."""

    def predict_shown(
        self, engine: Engine, examples: Sequence[Example], shown: Sequence[Sequence[Example]]
    ) -> list[Prediction]:
        """Answer row by row."""
        pairs = zip(examples, shown, strict=True)
        return [prediction for example, own in pairs for prediction in self.predict_untuned(engine, [example], own)]

    def shots(self, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
        """Draw `count` examples at random."""
        order = np.random.default_rng(seed).permutation(len(examples))
        return [examples[index] for index in order[:count]]


def item_losses(engine: Engine, items: Sequence[Encoded]) -> np.ndarray:
    """Measure each item's loss over all of its sequences: `[items]`, nats."""
    return _by_item(engine.losses([sequence for item in items for sequence in item.sequences]), items)


def item_answers(
    engine: Engine, items: Sequence[Encoded], prompts: Sequence[Encoded]
) -> tuple[np.ndarray, Sequence[str]]:
    """Measure each item's loss over all of its sequences, `[items]`, and continue prompts."""
    losses, texts = engine.answer([sequence for item in items for sequence in item.sequences], prompts)
    return _by_item(losses, items), texts


def _by_item(losses: np.ndarray, items: Sequence[Encoded]) -> np.ndarray:
    """Sum losses of sequences by item."""
    owners = [at for at, item in enumerate(items) for _ in item.sequences]
    return np.bincount(owners, weights=losses, minlength=len(items))
