"""Answers from the data: their likelihood is scored, and one is generated only where none is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from kamerton.core.contracts import Engine, Tokenizer
from kamerton.core.errors import Fault
from kamerton.core.messages import msg
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.messages import kept_messages
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import cut_start, encode_each, tokenize, without_reasoning, write_prompt
from kamerton.forms.usual import Prompted


class GivenAnswers(Prompted):
    """Base of forms whose rows hold a request and one or two answers to it."""

    room_around: ClassVar = False

    @abstractmethod
    def is_given(self, example: Example) -> bool:
        """Return whether a row holds what is scored."""

    @abstractmethod
    def write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row's answers after solved examples.

        Raises:
            RefusedError: the template cannot render the row.
        """

    @abstractmethod
    def judge(self, engine: Engine, examples: ExampleSeq, items: Sequence[Encoded]) -> list[Prediction]:
        """Score the answers of rows, which `write` encoded as `items`."""

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize the answers after their request; what does not fit is cut at the end."""
        return encode_each(lambda example: self.training_row(example, tokenizer, max_tokens), examples)

    def training_row(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        """Tokenize a row as it is trained on: as it is scored, unless the loss needs more."""
        return self.write(example, (), tokenizer, max_tokens)

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the request up to where the assistant begins."""

        def encode(example: Example) -> Encoded:
            [ids] = tokenize([write_prompt(request_of(example), tokenizer)], tokenizer)
            return cut_start(ids, max_tokens)

        return encode_each(encode, examples)

    def predict_untuned(self, engine: Engine, examples: ExampleSeq, shots: ExampleSeq) -> list[Prediction]:
        """Score the answers after `shots`, which are earlier turns of the conversation."""
        given = [example for example in examples if self.is_given(example)]
        items = [self._fitting(example, shots, engine) for example in given]
        results = {one.id: one for one in (self.judge(engine, given, items) if given else ())}
        asking = [example for example in examples if example.id not in results]
        prompts = self.prompts(asking, engine.tokenizer, max(1, engine.max_tokens - engine.max_new_tokens))
        if fault := next((prompt.fault for prompt in prompts if prompt.fault), ""):
            raise RefusedError(Fault(fault, remedy=msg("change the row")))
        texts = engine.generate(prompts) if asking else []
        results |= {
            example.id: Prediction(example.id, without_reasoning(text), cut=prompt.cut)
            for example, text, prompt in zip(asking, texts, prompts, strict=True)
        }
        return [results[example.id] for example in examples]

    def _fitting(self, example: Example, shots: ExampleSeq, engine: Engine) -> Encoded:
        for first in range(len(shots) + 1):
            item = self.write(example, shots[first:], engine.tokenizer, engine.max_tokens)
            if not item.cut:
                break
        return item


def request_of(example: Example) -> tuple[Turn, ...]:
    """Return the turns before the answers."""
    return kept_messages(example.fields["prompt"])


def behind_shots(example: Example, shown: Sequence[Turn]) -> tuple[Turn, ...]:
    """Put solved examples between the system's turn and the request."""
    turns = request_of(example)
    head = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "tools")), len(turns))
    return (*turns[:head], *shown, *turns[head:])
