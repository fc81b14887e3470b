"""A request and its answer, through the model's own chat template; only the answer is supervised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from kamerton.core.contracts import Engine, ModelHead
from kamerton.core.records import Encoded, Example, Prediction, Taught, Turn
from kamerton.forms.messages import with_system
from kamerton.forms.supervision import written
from kamerton.forms.templates import CLOSING_TAG, RefusedError
from kamerton.forms.turns import (
    Exchange,
    ended,
    most_shots,
    same_prompt,
    supervise,
    tokenize,
    without_reasoning,
    write_exchange,
    written_around,
)
from kamerton.forms.usual import Usual
from kamerton.text.cells import draw_evenly, room_for

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


def silent(example: Example) -> str:
    """Tell the assistant nothing beforehand."""
    return ""


@dataclass(frozen=True)
class Dialogue(Usual):
    """A user's turn and the assistant's: either free text, or one of `choices`."""

    ask: Callable[[Example], str]
    """What the user says in an example."""
    choices: tuple[str, ...] = ()
    """If given, answers are chosen among these by their likelihood; nothing is generated."""
    answers: tuple[str, ...] = ()
    """The training answers, from which the room for generated ones is measured."""
    answer: Callable[[Example], str] = attrgetter("gold")
    """What the assistant says to an example."""
    system: Callable[[Example], str] = silent
    """What the assistant is told beforehand; if nothing, there is no such turn."""
    model_class: ClassVar = "AutoModelForCausalLM"
    untuned_class: ClassVar = "AutoModelForCausalLM"

    def validation_subset(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Answer all validation rows where answers are chosen, a few where they must be written."""
        return examples if self.choices else super().validation_subset(examples)

    @property
    def ends(self) -> bool:
        """End answers that are written; of given ones the likeliest is chosen, whatever comes after it."""
        return not self.choices

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Measure how long nearly all training answers are, with some room."""
        if self.choices:
            return 0
        longest = room_for([len(ids) for ids in tokenize([(answer,) for answer in self.answers], tokenizer)])
        return longest + self.around(tokenizer)

    @staticmethod
    def around(tokenizer: Tokenizer) -> int:
        """Count the tokens that stand around an answer by the template: an empty thought."""
        return written_around(tokenizer)

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize prompt and answer apart, so that the prompt's tokens are those of serving.

        A prompt that does not fit before its answer loses its start, as in serving: else its answer would be lost.
        """
        tried = [self._encodable(example, tokenizer) for example in examples]
        written = [one for one in tried if isinstance(one, Exchange)]
        prompts = tokenize([one.prompt for one in written], tokenizer)
        answers = tokenize([one.answer for one in written], tokenizer)
        items = (
            supervise(prompt, ended(answer, tokenizer), max_tokens)
            for prompt, answer in zip(prompts, answers, strict=True)
        )
        return [one if isinstance(one, Encoded) else next(items) for one in tried]

    def _encodable(self, example: Example, tokenizer: Tokenizer) -> Exchange | Encoded:
        """Write an example, or say why the template cannot."""
        try:
            return self._write(example, (), tokenizer)
        except RefusedError as error:
            return Encoded((), (), (), fault=error.faults[0].rule)

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Give what serving sends: the prompt up to where the assistant begins."""
        return [self._prompted(example, tokenizer, max_tokens) for example in examples]

    def _prompted(self, example: Example, tokenizer: Tokenizer, max_tokens: int) -> Encoded:
        try:
            [prompt] = self._prompts([example], [()], tokenizer, max_tokens)
        except RefusedError as error:
            return Encoded((), (), (), fault=error.faults[0].rule)
        return prompt

    def flaw(self, item: Encoded, prompt: Encoded, tokenizer: Tokenizer) -> str:
        """Find a prompt that differs from serving's, supervision beside the answer, or an untaught end."""
        if not same_prompt(item, prompt):
            return "the prompt is written differently in training and in serving"
        if [item.tokens[read + 1] for read in item.output_positions] != list(item.targets):
            return "the supervised positions are not the answer's"
        if not item.cut and tokenizer.eos_token_id not in (None, item.targets[-1]):
            return "the end token is not trained, so the model would not learn to stop"
        return ""

    def taught(self, item: Encoded, tokenizer: Tokenizer) -> Taught:
        """Mark the answer's tokens; each is read at the one before it."""
        return Taught(tuple(read + 1 for read in item.output_positions), (written(item.targets, tokenizer),))

    def shots(self, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
        """Draw `count` examples, or one of each choice if there are more choices; none if none are wanted."""
        if self.choices and count:
            return draw_evenly(examples, max(count, len(self.choices)), seed)
        return super().shots(examples, count, seed)

    def _prompts(
        self, examples: Sequence[Example], shown: Sequence[Sequence[Example]], tokenizer: Tokenizer, room: int
    ) -> list[Encoded]:
        """Give prompts, each after its own shots, in at most `room` tokens.

        Shots that do not fit are left out, the first ones first; a request that does not fit loses its start.
        """
        return [
            most_shots(len(shots), partial(self._prompt, example, shots, tokenizer, room))
            for example, shots in zip(examples, shown, strict=True)
        ]

    def _prompt(
        self, example: Example, shots: Sequence[Example], tokenizer: Tokenizer, room: int, first: int
    ) -> Encoded:
        """Write a prompt without the first shots; what does not fit of it loses its start."""
        [ids] = tokenize([self._write(example, shots[first:], tokenizer).prompt], tokenizer)
        return Encoded(tuple(ids[-room:]), (), (), max(0, len(ids) - room))

    def predict(self, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Choose or write the answers, and measure the likelihood of the right ones."""
        return self.predict_untuned(engine, examples, ())

    def predict_untuned(
        self, engine: Engine, examples: Sequence[Example], shots: Sequence[Example]
    ) -> list[Prediction]:
        """Answer after `shots` solved examples, put as earlier turns of the conversation."""
        return self.predict_shown(engine, examples, [shots] * len(examples))

    def predict_shown(
        self, engine: Engine, examples: Sequence[Example], shown: Sequence[Sequence[Example]]
    ) -> list[Prediction]:
        """Answer each example after solved ones of its own, all side by side."""
        options = self._options(examples, engine.tokenizer)
        longest = max((len(option) for option in options), default=engine.max_new_tokens)
        prompts = self._prompts(examples, shown, engine.tokenizer, max(1, engine.max_tokens - longest))
        if self.choices:
            return self._choose(engine, examples, prompts, options)
        answers = [self._write(example, (), engine.tokenizer).answer for example in examples]
        golds = tokenize(answers, engine.tokenizer)
        supervised = [
            supervise(prompt.tokens, ended(gold, engine.tokenizer), engine.max_tokens)
            for prompt, gold in zip(prompts, golds, strict=True)
        ]
        counts = [self.drawn(example) for example in examples]
        asked = [prompt for prompt, count in zip(prompts, counts, strict=True) for _ in range(count)]
        losses, texts = engine.answer(supervised, asked)
        written = iter(texts)
        return [
            self._prediction(example, list(islice(written, count)), float(loss), item, prompt)
            for example, count, loss, item, prompt in zip(examples, counts, losses, supervised, prompts, strict=True)
        ]

    def _prediction(
        self, example: Example, texts: Sequence[str], loss: float, item: Encoded, prompt: Encoded
    ) -> Prediction:
        """Take the first of the texts that were written as the answer."""
        passed = self.tried(example, texts)
        return Prediction(example.id, self.kept(texts[0]), None, loss, len(item.targets), cut=prompt.cut, passed=passed)

    def drawn(self, example: Example) -> int:
        """Return how many answers are written to an example: one."""
        return 1

    def tried(self, example: Example, texts: Sequence[str]) -> float | None:
        """Return the share of what was written that passes the example's tests; None, for there are none."""
        return None

    def kept(self, text: str) -> str:
        """Leave out the space around what was written, and the reasoning before it where the true answers have none."""
        return text.strip() if self._reasons else without_reasoning(text)

    @cached_property
    def _reasons(self) -> bool:
        """Whether reasoning stands in the training answers' own text, so that it counts like the rest."""
        return any(CLOSING_TAG in answer for answer in self.answers)

    def _choose(
        self,
        engine: Engine,
        examples: Sequence[Example],
        prompts: Sequence[Encoded],
        options: list[tuple[int, ...]],
    ) -> list[Prediction]:
        items = [supervise(prompt.tokens, option, engine.max_tokens) for prompt in prompts for option in options]
        scores = -engine.losses(items).reshape(len(prompts), len(options))
        log_probabilities = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        predictions = []
        for example, row, prompt in zip(examples, log_probabilities, prompts, strict=True):
            best = int(row.argmax())
            loss = -float(row[self.choices.index(example.gold)]) if example.gold in self.choices else None
            tokens = 1 if loss is not None else None
            score, probabilities = float(np.exp(row[best])), tuple(np.exp(row).tolist())
            chosen = Prediction(example.id, self.choices[best], score, loss, tokens, probabilities=probabilities)
            predictions.append(replace(chosen, cut=prompt.cut))
        return predictions

    def _options(self, examples: Sequence[Example], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
        """Write the choices as the template writes answers: in training they were written by it, too."""
        answers = [
            self._write(replace(example, gold=choice), (), tokenizer).answer
            for example in examples[:1]
            for choice in self.choices
        ]
        return [tuple(ended(ids, tokenizer)) for ids in tokenize(answers, tokenizer)]

    def with_instruction(self, text: str) -> Self | None:
        """Put an instruction before what the user says."""
        return replace(self, ask=lambda example: f"{text}\n\n{self.ask(example)}")

    def to_messages(self, example: Example, shots: Sequence[Example]) -> Sequence[Turn]:
        """Put solved examples as earlier turns behind the system prompt, and the request as the last."""
        turns = [Turn("user", self.ask(example))]
        for shot in reversed(shots):
            turns = [Turn("user", self.ask(shot)), Turn("assistant", self.answer(shot)), *turns]
        return with_system(turns, self.system(example), "")

    def parse(self, text: str) -> str:
        """Find the choice that an answer names first, if there are choices; else keep it as it is."""
        folded = text.casefold()
        named = [(folded.find(choice.casefold()), -len(choice), choice) for choice in self.choices]
        return min((found for found in named if found[0] >= 0), default=(0, 0, self.kept(text)))[2]

    def _write(self, example: Example, shots: Sequence[Example], tokenizer: Tokenizer) -> Exchange:
        """Write prompt and answer as text by the template."""
        return write_exchange(self.to_messages(example, shots), self.answer(example), tokenizer)


def trains_on_requests(form: ModelHead) -> bool:
    """Return whether a form's rows are single requests with their answers, which the base model can also write."""
    return isinstance(form, Dialogue)
