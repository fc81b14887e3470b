"""The untuned model at its best: zero-shot, with a prompt written by hand, shown examples, told what was found to help.

Nothing is chosen on the test rows. Draws of examples and instructions are chosen by the validation rows,
which select the tuned model's checkpoint as well: the same labels for both (evaluation budget, Dodge et al. 2019).
Where answers are scored, the deciding metric chooses; where they must be written, which costs a hundred times more,
the loss of the true answers chooses, within a budget of tokens, and nothing is written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kamerton.contenders.contend import Predict
from kamerton.core.contracts import Engine, Form, UntunedAnswerer
from kamerton.core.outcomes import ContenderKind, Selection
from kamerton.core.records import Encoded, Example, Prediction, Progress, Split
from kamerton.runs.recipe import PromptSettings
from kamerton.text.features import text_features
from kamerton.text.language_id import language_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

CHOSEN_ON = 48
"""Most validation rows that draws and instructions are chosen on."""
ENOUGH = 16
"""With fewer validation rows nothing is chosen: the first draw is taken."""
ROUND = 8
"""Validation rows that every way is tried on before the budget is looked at again."""
INSTRUCTIONS = {
    "en": (
        "Answer as an expert in this field would.",
        "Read carefully, then give only the answer, in the form that was asked for.",
        "Think of what the examples of each kind have in common, and answer by that.",
        "Be precise: the most specific answer that fits is the right one.",
    ),
    "ru": (
        "Ответь так, как ответил бы специалист в этой области.",
        "Прочитай внимательно и дай только ответ, в той форме, в которой он нужен.",
        "Подумай, что общего у примеров каждого вида, и ответь исходя из этого.",
        "Будь точен: верен самый определённый из подходящих ответов.",
    ),
}
"""What the light search tries before the request, by the language of the texts."""
Score = Callable[[Sequence[Example], Sequence[Prediction]], float]
"""How good predictions are: higher is better."""


Way = Callable[[Engine, Sequence[Example]], Sequence[Prediction]]
"""A way to ask an engine."""


def selection_sentence(selection: Selection) -> str:
    """Describe how a prompt was chosen."""
    return (
        f"chosen from {selection.ways} on {selection.rows} validation rows by {selection.calls:,} calls, "
        f"{selection.tokens:,} tokens, {selection.seconds:.1f} s"
    )


@dataclass(frozen=True)
class PromptStrategy:
    """A way to ask a model, ready to answer the test rows."""

    name: str
    kind: ContenderKind
    predict: Predict
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True)
class Prompting:
    """All that the strategies are made of."""

    form: Form
    engine: Engine
    split: Split
    settings: PromptSettings
    shots: int
    score: Score
    seed: int

    def strategies(self) -> Generator[Progress, None, list[PromptStrategy]]:
        """Make the strategies; those that are searched for are chosen by validation rows."""
        plain = PromptStrategy("base model", "base", partial(self.form.predict_untuned, self.engine, shots=()))
        found = [plain, *self._by_hand()]
        if self.shots:
            found += yield from self._shown()
        if self.settings.search and self._takes_prompts:
            found += yield from self._told()
        return found

    @property
    def _takes_prompts(self) -> bool:
        return self.form.with_instruction("") is not None

    @property
    def _judges(self) -> Sequence[Example]:
        """The validation rows to choose by; none if they are few."""
        rows = self.split.validation[:CHOSEN_ON]
        return rows if len(rows) >= ENOUGH else ()

    @property
    def _written(self) -> bool:
        """Whether answers must be written, which no choice is worth: the loss of the true ones is read instead."""
        return len(self.form.validation_subset(self._judges)) < len(self._judges)

    def _by_hand(self) -> list[PromptStrategy]:
        told = self.form.with_instruction(self.settings.text) if self.settings.text else None
        if told is None:
            return []
        return [
            PromptStrategy(
                "base model with your prompt", "prompt", partial(told.predict_untuned, self.engine, shots=())
            )
        ]

    def _shown(self) -> Generator[Progress, None, list[PromptStrategy]]:
        """Show the best of several random draws; and, where each row has a prompt of its own, the nearest examples."""
        drawn = range(self.settings.draws if self._judges else 1)
        draws = [self.form.shots(self.split.train, self.shots, self.seed + number) for number in drawn]
        if not draws[0]:
            return []
        ways = [_showing(self.form, draw) for draw in draws]
        best, selection = yield from self._best("examples", ways)
        of = f", the best of {len(draws)} draws" if len(draws) > 1 else ""
        name = f"base model shown {len(draws[best])} examples{of}"
        strategies = [PromptStrategy(name, "prompt", partial(ways[best], self.engine), selection)]
        if self._takes_prompts and self.settings.nearest:
            count = min(self.shots, len(self.split.train))
            nearest = Nearest(self.split.train, count)
            strategies.append(
                PromptStrategy(
                    f"base model shown the nearest {count}", "prompt", partial(nearest.predict, self.form, self.engine)
                )
            )
        return strategies

    def _told(self) -> Generator[Progress, None, list[PromptStrategy]]:
        """Tell it the instruction that helps most."""
        if not self._judges:
            return []
        languages = Counter(language_of(example.text) for example in self.split.train[:200])
        texts = INSTRUCTIONS["ru" if languages["Russian"] > languages["English"] else "en"]
        told = [self.form.with_instruction(text) for text in texts]
        ways = [_showing(form, ()) for form in told if form is not None]
        best, selection = yield from self._best("instructions", ways)
        name = f"base model told the best of {len(ways)} instructions"
        return [PromptStrategy(name, "prompt", partial(ways[best], self.engine), selection)]

    def _best(self, name: str, ways: Sequence[Way]) -> Generator[Progress, None, tuple[int, Selection]]:
        """Choose a way to ask by the validation rows, the first of equals; say what that took."""
        if len(ways) == 1:
            return 0, Selection()
        began, engine, judges = time.perf_counter(), Metered(self.engine, writes=not self._written), self._judges
        given: list[list[Prediction]] = [[] for _ in ways]
        asked = 0
        while asked < len(judges) and self._affords(engine.tokens, asked):
            some = judges[asked : asked + ROUND]
            for number, way in enumerate(ways):
                yield Progress(name, asked * len(ways) + number * len(some), len(judges) * len(ways))
                given[number] += way(engine, some)
            asked += len(some)
        yield Progress(name, len(judges) * len(ways), len(judges) * len(ways))
        scores = [self._score(judges[:asked], predictions) for predictions in given]
        seconds = time.perf_counter() - began
        return int(np.argmax(scores)), Selection(len(ways), asked, asked * len(ways), engine.tokens, seconds)

    def _affords(self, spent: int, asked: int) -> bool:
        """Say whether another round fits into the budget, by what the rows before took; the first always does."""
        return not asked or not self._written or spent * (1 + ROUND / asked) <= self.settings.budget

    def _score(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> float:
        """Give the deciding metric, or where answers are written the true answers' log-likelihood a token."""
        if not self._written:
            return self.score(rows, predictions)
        known = [(one.loss, one.tokens) for one in predictions if one.loss is not None and one.tokens]
        return -sum(loss for loss, _ in known) / max(1, sum(tokens for _, tokens in known))


class Metered:
    """An engine that counts the tokens it reads, and that may be kept from writing: then every answer is empty."""

    def __init__(self, engine: Engine, *, writes: bool) -> None:
        self.engine, self.writes, self.tokens = engine, writes, 0

    @property
    def tokenizer(self) -> Tokenizer:
        """The engine's."""
        return self.engine.tokenizer

    @property
    def max_tokens(self) -> int:
        """The engine's."""
        return self.engine.max_tokens

    @property
    def max_new_tokens(self) -> int:
        """The engine's."""
        return self.engine.max_new_tokens

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Count and read."""
        return self.engine.read(self._counted(items))

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Count and read."""
        return self.engine.losses(self._counted(items))

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Count and write, if it may."""
        return self.engine.generate(self._counted(prompts)) if self.writes else [""] * len(prompts)

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Count and read, and write, if it may."""
        if not self.writes:
            return self.losses(items), [""] * len(prompts)
        return self.engine.answer(self._counted(items), self._counted(prompts))

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Count and read."""
        return self.engine.embed(self._counted(items))

    def _counted(self, items: Sequence[Encoded]) -> Sequence[Encoded]:
        self.tokens += sum(len(sequence.tokens) for item in items for sequence in item.sequences)
        return items


def _showing(form: UntunedAnswerer, shots: Sequence[Example]) -> Way:
    """Ask after the same solved examples, or none."""
    return lambda engine, rows: form.predict_untuned(engine, rows, shots)


class Nearest:
    """Training examples by their likeness to a row, in words and pieces of them."""

    def __init__(self, examples: Sequence[Example], count: int) -> None:
        self.examples, self.count = examples, count
        self._features = text_features()
        self._known = self._features.fit_transform([example.text for example in examples])

    def of(self, example: Example) -> list[Example]:
        """Give the most alike examples, the most alike one last: nearest to the request."""
        alike = (self._known @ self._features.transform([example.text]).T).toarray()[:, 0]
        best = sorted(range(len(alike)), key=lambda i: (-alike[i], i))[: self.count]
        return [self.examples[i] for i in reversed(best)]

    def predict(self, form: UntunedAnswerer, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Answer each row after its own examples."""
        return form.predict_shown(engine, examples, [self.of(example) for example in examples])
