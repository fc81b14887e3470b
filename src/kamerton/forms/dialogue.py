"""A request and its answer, through the model's own chat template; only the answer is supervised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import ClassVar, Self

import numpy as np

from kamerton.core.contracts import Engine, ModelHead, Tokenizer
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Turn
from kamerton.forms.messages import with_system
from kamerton.forms.templates import RefusedError
from kamerton.forms.turns import (
    Exchange,
    cut_start,
    encode_each,
    ended,
    most_shots,
    supervise,
    tokenize,
    without_reasoning,
    write_exchange,
)
from kamerton.forms.usual import Prompted, likeliest
from kamerton.text.cells import draw_evenly


def silent(example: Example) -> str:
    """Return no system prompt."""
    return ""


@dataclass(frozen=True)
class Dialogue(Prompted):
    """A user's turn and the assistant's: either free text, or one of `choices`."""

    ask: Callable[[Example], str]
    """Returns the user's turn of an example."""
    choices: tuple[str, ...] = ()
    """If given, answers are chosen among these by their likelihood; nothing is generated."""
    answers: tuple[str, ...] = ()
    answer: Callable[[Example], str] = attrgetter("gold")
    """Returns the assistant's turn."""
    system: Callable[[Example], str] = silent
    """Returns the system prompt, or nothing."""

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Return the choices."""
        return self.choices

    @property
    def ends(self) -> bool:
        """Whether answers are generated; of choices the likeliest one is taken, whatever comes after it."""
        return not self.choices

    @property
    def generates(self) -> bool:
        """Whether answers are free text."""
        return not self.choices

    def answer_tokens(self, tokenizer: Tokenizer) -> int:
        """Return a length that nearly all training answers have, with some room."""
        return super().answer_tokens(tokenizer) if self.generates else 0

    def encode(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Tokenize prompt and answer separately, so that the prompt's tokens are those of serving.

        A prompt that does not fit before its answer loses its start, as in serving: else its answer would be lost.
        """
        exchanges, faults = list[Exchange](), dict[int, Encoded]()
        for at, example in enumerate(examples):
            try:
                exchanges.append(self._write(example, (), tokenizer))
            except RefusedError as error:
                faults[at] = Encoded((), (), (), fault=error.faults[0].rule)
        prompts = tokenize([one.prompt for one in exchanges], tokenizer)
        answers = tokenize([one.answer for one in exchanges], tokenizer)
        items = (
            supervise(prompt, ended(answer, tokenizer), max_tokens)
            for prompt, answer in zip(prompts, answers, strict=True)
        )
        return [faults.get(at) or next(items) for at in range(len(examples))]

    def prompts(self, examples: ExampleSeq, tokenizer: Tokenizer, max_tokens: int) -> list[Encoded]:
        """Return what serving sends: the prompt up to where the assistant begins."""
        return encode_each(lambda example: self._prompt(example, (), tokenizer, max_tokens, 0), examples)

    def shots(self, examples: ExampleSeq, count: int, seed: int) -> list[Example]:
        """Draw `count` examples, or one of each choice if there are more choices; none if none are wanted."""
        if self.choices and count:
            return draw_evenly(examples, max(count, len(self.choices)), seed)
        return super().shots(examples, count, seed)

    def _prompts(
        self, examples: ExampleSeq, shown: Sequence[ExampleSeq], tokenizer: Tokenizer, room: int
    ) -> list[Encoded]:
        """Return prompts in at most `room` tokens: first shots that do not fit are left out, then a request is cut."""
        return [
            most_shots(len(shots), partial(self._prompt, example, shots, tokenizer, room))
            for example, shots in zip(examples, shown, strict=True)
        ]

    def _prompt(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer, room: int, first: int) -> Encoded:
        [ids] = tokenize([self._write(example, shots[first:], tokenizer).prompt], tokenizer)
        return cut_start(ids, room)

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Answer each example after solved ones of its own, all side by side."""
        options = self._written(examples[0], self.choices, engine.tokenizer) if examples else []
        longest = max(map(len, options), default=engine.max_new_tokens)
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
        written, predictions = iter(texts), []
        for example, count, loss, item, prompt in zip(examples, counts, losses, supervised, prompts, strict=True):
            drawn = list(islice(written, count))
            text, passed = self.kept(drawn[0]), self.tried(example, drawn)
            predictions.append(
                Prediction(example.id, text, None, float(loss), len(item.targets), cut=prompt.cut, passed=passed)
            )
        return predictions

    def drawn(self, example: Example) -> int:
        """Return how many answers are generated for an example: one."""
        return 1

    def tried(self, example: Example, texts: Sequence[str]) -> float | None:
        """Return the share of generated texts that passes the example's tests; None without tests."""
        return None

    def kept(self, text: str) -> str:
        """Strip a generated text, and the reasoning before it where the true answers have none."""
        return text.strip() if self.reasons else without_reasoning(text)

    def _choose(
        self, engine: Engine, examples: ExampleSeq, prompts: Sequence[Encoded], options: list[list[int]]
    ) -> list[Prediction]:
        items = [supervise(prompt.tokens, option, engine.max_tokens) for prompt in prompts for option in options]
        scores = -engine.losses(items).reshape(len(prompts), len(options))
        return [
            likeliest(example, self.choices, row, cut=prompt.cut)
            for example, row, prompt in zip(examples, scores, prompts, strict=True)
        ]

    def _written(self, example: Example, answers: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """Tokenize answers as the template renders them, as in training."""
        exchanges = [self._write(replace(example, gold=answer), (), tokenizer) for answer in answers]
        return [ended(ids, tokenizer) for ids in tokenize([one.answer for one in exchanges], tokenizer)]

    def with_instruction(self, text: str) -> Self | None:
        """Return the form that puts an instruction before the user's turn."""
        return replace(self, ask=lambda example: f"{text}\n\n{self.ask(example)}")

    def requests(self, example: Example, shots: ExampleSeq) -> Sequence[Sequence[Turn]]:
        """Return one conversation: the system prompt, solved examples as earlier turns, and the request as the last."""
        return [self._asked(example, shots)]

    def _asked(self, example: Example, shots: ExampleSeq) -> Sequence[Turn]:
        turns = [Turn("user", self.ask(example))]
        for shot in reversed(shots):
            turns = [Turn("user", self.ask(shot)), Turn("assistant", self.answer(shot)), *turns]
        return with_system(turns, self.system(example), "")

    def parse(self, text: str) -> str:
        """Return the choice that a reply names first, if there are choices; else the reply."""
        folded = text.casefold()
        named = [(folded.find(choice.casefold()), -len(choice), choice) for choice in self.choices]
        return min((found for found in named if found[0] >= 0), default=(0, 0, self.kept(text)))[2]

    def _write(self, example: Example, shots: ExampleSeq, tokenizer: Tokenizer) -> Exchange:
        return write_exchange(self._asked(example, shots), self.answer(example), tokenizer)


@dataclass(frozen=True)
class OptionChoice(Dialogue):
    """A user's question and one of its options as the assistant's answer; nothing is generated.

    Options are compared by their mean log-likelihood a token, so that long ones are not at a disadvantage
    (Brown et al. 2020, section 2.4).
    """

    generates: ClassVar = False

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Choose among the options of each example, after solved ones."""
        options, cuts, items = [_options_of(example) for example in examples], list[int](), list[Encoded]()
        for example, names, shots in zip(examples, options, shown, strict=True):
            answers = self._written(example, names, engine.tokenizer)
            room = max(1, engine.max_tokens - max(map(len, answers)))
            [prompt] = self._prompts([example], [shots], engine.tokenizer, room)
            items += [supervise(prompt.tokens, answer, engine.max_tokens) for answer in answers]
            cuts.append(prompt.cut)
        means = iter(-engine.losses(items) / [max(1, len(item.targets)) for item in items] if items else ())
        return [
            replace(likeliest(e, names, np.array([*islice(means, len(names))]), cut=cut), probabilities=None)
            for e, names, cut in zip(examples, options, cuts, strict=True)
        ]

    def parse(self, text: str) -> str:
        """Return the reply: only its own question knows the options."""
        return text.strip().rstrip(".")


def _options_of(example: Example) -> list[str]:
    options = example.fields["options"]
    return [str(option) for option in options] if isinstance(options, list) else []


def trains_on_requests(form: ModelHead) -> bool:
    """Return whether a form's rows are single requests with their answers, which the base model can also write."""
    return isinstance(form, Dialogue)
