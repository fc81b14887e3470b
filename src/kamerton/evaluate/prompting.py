"""The untuned model at its best: zero-shot, with a prompt written by hand, shown examples, told what was found to help.

Nothing is chosen on the test rows. Draws of examples and instructions are chosen by the validation rows,
which select the tuned model's checkpoint as well: the same labels for both (evaluation budget, Dodge et al. 2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from kamerton.bags import text_features
from kamerton.contracts import Engine, Form
from kamerton.evaluate.contend import Predict
from kamerton.languages import language_of
from kamerton.outcomes import ContenderKind
from kamerton.recipe import PromptSettings
from kamerton.records import Example, Prediction, Progress, Split

CHOSEN_ON = 48
"""Most validation rows that draws and instructions are chosen on."""
ENOUGH = 16
"""With fewer validation rows to answer nothing is chosen: the first draw is taken."""
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


@dataclass(frozen=True)
class Arm:
    """A way to ask a model, ready to answer the test rows."""

    name: str
    kind: ContenderKind
    predict: Predict


@dataclass(frozen=True)
class Prompting:
    """All that the arms are made of."""

    form: Form
    engine: Engine
    split: Split
    settings: PromptSettings
    shots: int
    score: Score
    seed: int

    def arms(self) -> Generator[Progress, None, list[Arm]]:
        """Make the arms; those that are searched for are chosen by validation rows."""
        plain = Arm("base model", "base", partial(self.form.predict_untuned, self.engine, shots=()))
        found = [plain, *self._by_hand()]
        if self.shots:
            found += yield from self._shown()
        if self.settings.search and self._takes_prompts:
            found += yield from self._told()
        return found

    @property
    def _takes_prompts(self) -> bool:
        return self.form.instructed("") is not None

    @property
    def _judges(self) -> Sequence[Example]:
        """The validation rows to choose by; none where answers must be written, which costs too much."""
        rows = self.split.validation[:CHOSEN_ON]
        return rows if len(rows) >= ENOUGH and len(self.form.watched(rows)) == len(rows) else ()

    def _by_hand(self) -> list[Arm]:
        told = self.form.instructed(self.settings.text) if self.settings.text else None
        if told is None:
            return []
        return [Arm("base model with your prompt", "prompt", partial(told.predict_untuned, self.engine, shots=()))]

    def _shown(self) -> Generator[Progress, None, list[Arm]]:
        """Show the best of several random draws; and, where each row has a prompt of its own, the nearest examples."""
        drawn = range(self.settings.draws if self._judges else 1)
        draws = [self.form.shots(self.split.train, self.shots, self.seed + number) for number in drawn]
        if not draws[0]:
            return []
        ways = [partial(self.form.predict_untuned, self.engine, shots=draw) for draw in draws]
        best = yield from self._best("examples", ways)
        of = f", the best of {len(draws)} draws" if len(draws) > 1 else ""
        arms = [Arm(f"base model shown {len(draws[best])} examples{of}", "prompt", ways[best])]
        if self._takes_prompts and self.settings.nearest:
            count = min(self.shots, len(self.split.train))
            nearest = Nearest(self.split.train, count)
            arms.append(
                Arm(f"base model shown the nearest {count}", "prompt", partial(nearest.predict, self.form, self.engine))
            )
        return arms

    def _told(self) -> Generator[Progress, None, list[Arm]]:
        """Tell it the instruction that helps most."""
        if not self._judges:
            return []
        languages = Counter(language_of(example.text) for example in self.split.train[:200])
        told = [
            self.form.instructed(text) for text in INSTRUCTIONS["ru" if languages["ru"] > languages["en"] else "en"]
        ]
        ways = [partial(form.predict_untuned, self.engine, shots=()) for form in told if form is not None]
        best = yield from self._best("instructions", ways)
        return [Arm(f"base model told the best of {len(ways)} instructions", "prompt", ways[best])]

    def _best(self, name: str, ways: Sequence[Predict]) -> Generator[Progress, None, int]:
        """Choose a way to ask by the validation rows; the first of equals."""
        if len(ways) == 1:
            return 0
        scores = []
        for number, predict in enumerate(ways):
            yield Progress(name, number, len(ways))
            scores.append(self.score(self._judges, predict(self._judges)))
        yield Progress(name, len(ways), len(ways))
        return max(range(len(ways)), key=lambda number: scores[number])


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

    def predict(self, form: Form, engine: Engine, examples: Sequence[Example]) -> list[Prediction]:
        """Answer each row after its own examples."""
        return form.predict_shown(engine, examples, [self.of(example) for example in examples])
