"""Answers that the data give: they are judged by how likely they are, and one is written only where none is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from kamerton.core.contracts import Engine
from kamerton.core.records import Encoded, Example, Prediction, Turn
from kamerton.forms.messages import kept_messages
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import refuse_faulty, tokenize, without_reasoning, write_prompt
from kamerton.forms.usual import Usual
from kamerton.text.cells import room_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


class GivenAnswers(Usual):
    """Base of forms whose rows hold a request and one or two answers to it."""

    answers: tuple[str, ...]
    """Training answers, from which the room for written ones is measured."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"

    @abstractmethod
    def is_given(self, example: Example) -> bool:
        """Return whether a row holds what is judged."""

    @abstractmethod
    def write(self, example: Example, shots: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answers after solved examples.

        Raises:
            RefusedError: the template cannot write the row.
        """

    @abstractmethod
    def judge(self, engine: Engine, examples: Sequence[Example], items: Sequence[Encoded]) -> list[Prediction]:
        """Measure how likely the answers of rows are; `items` are the rows as `write` wrote them."""

    def validation_subset(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return every validation row: answers are read, not written."""
        return examples

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Measure how long nearly all answers are, with some room: for requests that bring none."""
        return room_for([len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)])

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the answers after their request; what does not fit is cut at the end."""
        return [self._encode(example, tokenizer, max_tokens) for example in examples]

    def training_row(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row as it is trained on: as it is judged, where the loss needs nothing else."""
        return self.write(example, (), tokenizer, max_tokens)

    def _encode(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        try:
            return self.training_row(example, tokenizer, max_tokens)
        except RefusedError as error:
            return Encoded((), (), (), fault=error.faults[0].rule)

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the request up to where the assistant begins."""
        return [_prompt(example, tokenizer, max_tokens) for example in examples]

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Judge the answers that are given, and write one where none is."""
        return self.predict_untuned(engine, examples, ())

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Judge the answers after `shots`, which are put as earlier turns of the conversation."""
        given = [example for example in examples if self.is_given(example)]
        items = [self._fitting(example, shots, engine) for example in given]
        results = {one.id: one for one in (self.judge(engine, given, items) if given else ())}
        asking = [example for example in examples if example.id not in results]
        prompts = self.prompts(asking, engine.tokenizer, max(1, engine.max_tokens - engine.max_new_tokens))
        refuse_faulty(prompts)
        texts = engine.generate(prompts) if asking else []
        results |= {
            example.id: Prediction(example.id, without_reasoning(text), cut=prompt.cut)
            for example, text, prompt in zip(asking, texts, prompts, strict=True)
        }
        return [results[example.id] for example in examples]

    def _fitting(self, example: Example, shots: Sequence[Example], engine: Engine) -> Encoded:
        """Write a row after as many shots as fit."""
        for first in range(len(shots) + 1):
            item = self.write(example, shots[first:], engine.tokenizer, engine.max_tokens)
            if not item.cut:
                break
        return item


def request_of(example: Example) -> tuple[Turn, ...]:
    """Return the turns that the answers answer."""
    return kept_messages(example.fields["prompt"])


def behind_shots(example: Example, shown: Sequence[Turn]) -> tuple[Turn, ...]:
    """Put solved examples between the system's turn and the request."""
    turns = request_of(example)
    head = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "tools")), len(turns))
    return (*turns[:head], *shown, *turns[head:])


def _prompt(example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
    try:
        [ids] = tokenize([write_prompt(request_of(example), tokenizer)], tokenizer)
    except RefusedError as error:
        return Encoded((), (), (), fault=error.faults[0].rule)
    return Encoded(tuple(ids[-max_tokens:]), (), (), max(0, len(ids) - max_tokens))
