"""What forms do unless they have a reason to do something else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from kamerton.core.contracts import Engine, PreTrainedModel, Tokenizer, TooLong
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Taught, Turn
from kamerton.forms.supervision import sequences_of, sums, target_losses, written
from kamerton.forms.templates import CLOSING_TAG
from kamerton.forms.turns import END_UNTRAINED, PROMPT_DIFFERS, TARGETS_DIFFER, tokenize, written_around
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

    def with_outputs(self, labels: Sequence[str]) -> Self:
        """Return this form: its outputs have no labels."""
        return self

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Return the names in the model's configuration."""
        ids = self.config.get("label2id", {})
        return tuple(ids) if isinstance(ids, dict) else ()

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

    def requests(self, example: Example, shots: ExampleSeq) -> Sequence[Sequence[Turn]]:
        """Return none: the task is not put in words."""
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
        return sum(target >= 0 for sequence in item.sequences for target in sequence.targets)

    def losses(self, logits: Tensor, items: Sequence[Encoded]) -> Tensor:
        """Compute the cross-entropy of each item's targets, summed over its sequences: `[items]`, nats."""
        return sums(target_losses(logits, sequences_of(items)), [len(item.sequences) for item in items])

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


@dataclass(frozen=True, kw_only=True)
class Windowed(Usual):
    """Base of forms that can read a long text in several sequences."""

    in_windows: bool = True
    """Whether what is too long is read in windows or in consecutive blocks; else it is cut."""
    too_long: ClassVar[tuple[TooLong, ...]] = ("window", "cut", "drop", "refuse")

    def with_too_long(self, too_long: TooLong) -> Self:
        """Return the form that reads long texts in windows, or cuts them."""
        return replace(self, in_windows=too_long == "window")


class Prompted(Usual):
    """Base of forms whose model answers prompts, tuned or not, after solved examples or none."""

    answers: tuple[str, ...]
    """Training answers, from which the room for generated ones is measured."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"
    room_around: ClassVar[bool] = True
    """Whether answers need room for what the template writes around them: an empty thought."""

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Return a length that nearly all training answers have, with some room."""
        lengths = [len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)]
        return room_for(lengths) + (written_around(tokenizer) if self.room_around else 0)

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> Wording:
        """Find a prompt that differs from serving's, supervision beside the answer, or an untrained end."""
        own = item.tokens[: item.output_positions[0] + 1]
        sizes = len(own), len(prompt.tokens)
        shared = min(sizes) if item.cut else max(sizes)  # of cut prompts, the ends must agree
        if own[-shared:] != prompt.tokens[-shared:]:
            return PROMPT_DIFFERS
        if [item.tokens[read + 1] for read in item.output_positions] != list(item.targets):
            return TARGETS_DIFFER
        return "" if item.cut or tokenizer.eos_token_id in (None, item.targets[-1]) else END_UNTRAINED

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Return the answer's tokens; each is predicted at the one before it."""
        return Taught(tuple(read + 1 for read in item.output_positions), (written(item.targets, tokenizer),))

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


def likeliest(example: Example, answers: Sequence[str], scores: np.ndarray, *, cut: int) -> Prediction:
    """Choose the answer of the highest log-likelihood `[answers]`; these need not be normalized."""
    logs = scores - np.logaddexp.reduce(scores)
    best, known = int(logs.argmax()), example.gold in answers
    loss = -float(logs[answers.index(example.gold)]) if known else None
    chances = tuple(np.exp(logs).tolist())
    score = float(np.exp(logs[best]))
    return Prediction(example.id, answers[best], score, loss, 1 if known else None, probabilities=chances, cut=cut)


def item_losses(engine: Engine, items: Sequence[Encoded]) -> np.ndarray:
    """Compute each item's loss over all of its sequences: `[items]`, nats."""
    return sums_by_item(engine.losses(sequences_of(items)), items)


def sums_by_item(losses: np.ndarray, items: Sequence[Encoded]) -> np.ndarray:
    """Sum the losses of all sequences within each item: `[items]`."""
    owners = [at for at, item in enumerate(items) for _ in item.sequences]
    return np.bincount(owners, weights=losses, minlength=len(items))
