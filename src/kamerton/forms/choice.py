"""A question with options of its own: the answer is the one that the model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kamerton.core.contracts import Engine
from kamerton.core.records import Example, ExampleSeq, Prediction
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.turns import ended, supervise, tokenize


@dataclass(frozen=True)
class OptionChoice(Dialogue):
    """A user's question and one of its options as the assistant's answer; nothing is generated.

    Options are compared by their mean log-likelihood a token, so that long ones are not at a disadvantage
    (Brown et al. 2020, section 2.4).
    """

    @property
    def generates(self) -> bool:
        """False: options are only scored."""
        return False

    def predict_shown(self, engine: Engine, examples: ExampleSeq, shown: Sequence[ExampleSeq]) -> list[Prediction]:
        """Choose among the options of each example, after solved ones."""
        results, cuts = [], []
        for example, shots in zip(examples, shown, strict=True):
            answers = self._answers(engine, example)
            room = max(1, engine.max_tokens - max(map(len, answers)))
            [prompt] = self._prompts([example], [shots], engine.tokenizer, room)
            results.append([supervise(prompt.tokens, answer, engine.max_tokens) for answer in answers])
            cuts.append(prompt.cut)
        items = [item for items in results for item in items]
        means = -engine.losses(items) / [max(1, len(item.targets)) for item in items] if items else np.zeros(0)
        starts = np.cumsum([0, *map(len, results)])
        return [
            replace(_chosen(example, means[start:end]), cut=cut)
            for example, cut, start, end in zip(examples, cuts, starts[:-1], starts[1:], strict=True)
        ]

    def _answers(self, engine: Engine, example: Example) -> list[list[int]]:
        written = [self._write(replace(example, gold=o), (), engine.tokenizer).answer for o in options_of(example)]
        return [ended(ids, engine.tokenizer) for ids in tokenize(written, engine.tokenizer)]

    def parse(self, text: str) -> str:
        """Return the reply: only its own question knows the options."""
        return text.strip().rstrip(".")


def options_of(example: Example) -> list[str]:
    """Return an example's options."""
    options = example.fields["options"]
    return [str(option) for option in options] if isinstance(options, list) else []


def _chosen(example: Example, means: np.ndarray) -> Prediction:
    options = options_of(example)
    logs = means - np.logaddexp.reduce(means)
    best = int(logs.argmax())
    known = example.gold in options
    loss = -float(logs[options.index(example.gold)]) if known else None
    return Prediction(example.id, options[best], float(np.exp(logs[best])), loss, 1 if known else None)
