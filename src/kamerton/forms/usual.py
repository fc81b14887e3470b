"""What forms do unless they have a reason to do something else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from kamerton.core.contracts import Engine, PreTrainedModel, Tokenizer, TooLong
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.supervision import supervised, target_losses
from kamerton.forms.templates import CLOSING_TAG
from kamerton.forms.turns import tokenize
from kamerton.text.cells import room_for

WRITERS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
GENERATED = 8
"""Validation rows answered at each validation where answers are generated: a hundred times the cost of a loss."""


class Usual(ABC):
    """Cut what is too long, train targets by cross-entropy, generate nothing."""

    model_class: ClassVar[str]
    too_long: ClassVar[tuple[TooLong, ...]] = ("cut", "drop", "refuse")

    @property
    def config(self) -> Mapping[str, object]:
        """No keys of the model's configuration."""
        return {}

    @property
    def ends(self) -> bool:
        """Whether the model writes: a head has no answers to end."""
        return self.model_class in WRITERS

    @property
    def generates(self) -> bool:
        """Whether answers are generated, instead of read or scored."""
        return False

    def with_instruction(self, text: str) -> Self | None:
        """Return None: requests are no prompts."""
        return None

    def to_messages(self, example: Example, shots: ExampleSeq) -> Sequence[Turn]:
        """Return no messages."""
        return ()

    def parse(self, text: str) -> str:
        """Return the reply without the space around it."""
        return text.strip()

    def with_too_long(self, too_long: TooLong) -> Self:
        """Return this form: long rows are cut, and the gate drops or refuses them."""
        return self

    def start(self, model: PreTrainedModel, fresh: Sequence[str]) -> None:
        """No initialization."""
        return

    def validation_subset(self, examples: ExampleSeq) -> ExampleSeq:
        """Return all rows, or a few where answers are generated."""
        return examples[:GENERATED] if self.generates else examples

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Return 0: nothing is generated."""
        return 0

    @abstractmethod
    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Encode examples with their targets."""

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return the rows as they are trained on: the answer is no part of the tokens."""
        return self.encode(examples, tokenizer, max_tokens)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Return nothing: the answer is no part of the tokens."""
        return ""

    def sequence_name(self, at: int, count: int) -> Wording:
        """Name a window."""
        return msg("window {number} of {count}", number=at + 1, count=count)

    def supervised(self, item: Encoded) -> int:
        """Count the known targets of all sequences."""
        return sum(supervised(sequence) for sequence in item.sequences)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute the cross-entropy of each item's targets, summed over its sequences: `[items]`, nats."""
        sequences = [sequence for item in items for sequence in item.sequences]
        owners = [at for at, item in enumerate(items) for _ in item.sequences]
        losses = target_losses(logits, sequences)
        return losses.new_zeros(len(items)).index_add(0, losses.new_tensor(owners).long(), losses)

    def with_reference(self, engine: Engine, items: Sequence[Encoded]) -> list[Encoded]:
        """Return the items: the loss has no reference."""
        return list(items)

    @abstractmethod
    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Answer with the base model as it is."""

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Answer row by row."""
        pairs = zip(examples, shown, strict=True)
        return [prediction for example, own in pairs for prediction in self.predict_untuned(engine, [example], own)]

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples at random."""
        order = np.random.default_rng(seed).permutation(len(examples))
        return [examples[index] for index in order[:count]]


class Prompted(Usual):
    """Base of forms whose model answers prompts, tuned or not, after solved examples or none."""

    answers: tuple[str, ...]
    """Training answers, from which the room for generated ones is measured."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Return a length that nearly all training answers have, with some room."""
        return room_for([len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)])

    @cached_property
    def reasons(self) -> bool:
        """Whether the training answers contain reasoning, so that it counts like the rest."""
        return any(CLOSING_TAG in answer for answer in self.answers)

    def predict(self, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Answer without solved examples."""
        return self.predict_untuned(engine, examples, ())

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Answer each example after the same `shots`."""
        return self.predict_shown(engine, examples, [shots] * len(examples))


def item_losses(engine: Engine, items: Sequence[Encoded]) -> np.ndarray:
    """Compute each item's loss over all of its sequences: `[items]`, nats."""
    return _by_item(engine.losses([sequence for item in items for sequence in item.sequences]), items)


def item_answers(
    engine: Engine, items: Sequence[Encoded], prompts: Sequence[Encoded]
) -> tuple[np.ndarray, Sequence[str]]:
    """Compute each item's loss over all of its sequences, `[items]`, and continue prompts."""
    losses, texts = engine.answer([sequence for item in items for sequence in item.sequences], prompts)
    return _by_item(losses, items), texts


def _by_item(losses: np.ndarray, items: Sequence[Encoded]) -> np.ndarray:
    owners = [at for at, item in enumerate(items) for _ in item.sequences]
    return np.bincount(owners, weights=losses, minlength=len(items))
