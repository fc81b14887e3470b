"""Prompt strategies for the untuned model: zero-shot, the user's prompt, few-shot, nearest examples, instructions.

Nothing is chosen on the test rows. Draws of examples and instructions are chosen on the validation rows, which select
the tuned model's checkpoint as well: the same labels for both (evaluation budget, Dodge et al. 2019). Where answers
are scored, the deciding metric chooses. Where they are generated, which costs a hundred times more, the loss of the
true answers chooses, within a budget of tokens.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from kamerton.contenders.contend import Predict
from kamerton.core.contracts import Engine, Form, UntunedAnswerer
from kamerton.core.figures import Figure
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import ContenderKind, Selection
from kamerton.core.records import Encoded, Example, ExampleSeq, Prediction, Progress, Split
from kamerton.runs.settings import PromptSettings
from kamerton.text.features import text_features
from kamerton.text.language_id import language_of

CHOSEN_ON = 48
"""Most validation rows that draws and instructions are chosen on."""
ENOUGH = 16
"""Fewest validation rows to choose on; below, the first draw is taken."""
ROUND = 8
"""Validation rows that every way is tried on between two looks at the budget."""
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
"""Instructions that are tried before the request, by the language of the texts."""
Score = Callable[[ExampleSeq, Sequence[Prediction]], float]
"""How good predictions are: higher is better."""
Way = Callable[[Engine, ExampleSeq], Sequence[Prediction]]
"""A way to ask an engine."""


def selection_message(selection: Selection) -> Message:
    """Describe how a prompt was chosen."""
    return msg(
        "chosen from {ways} on {rows} validation {rows:row|rows} by {calls} {calls:call|calls}, "
        "{tokens} {tokens:token|tokens}, {seconds}",
        ways=selection.ways,
        rows=selection.rows,
        calls=selection.calls,
        tokens=selection.tokens,
        seconds=Figure(selection.seconds, "duration"),
    )


@dataclass(frozen=True)
class PromptStrategy:
    """A way to ask a model, ready to answer the test rows."""

    title: Message
    kind: ContenderKind
    predict: Predict
    selection: Selection = field(default_factory=Selection)
    failures: Callable[[int], Sequence[Message]] = lambda _: ()
    """Tells how many of so many rows have no answer."""

    @property
    def name(self) -> str:
        """The title in English, which identifies the strategy in files."""
        return str(self.title)


@dataclass(frozen=True)
class Prompting:
    """Builds the prompt strategies."""

    form: Form
    engine: Engine
    split: Split
    settings: PromptSettings
    shots: int
    score: Score
    seed: int

    def strategies(self) -> Generator[Progress, None, list[PromptStrategy]]:
        """Build the strategies; those that are searched for are chosen on validation rows."""
        plain = partial(self.form.predict_untuned, self.engine, shots=())
        found = [PromptStrategy(msg("base model"), "base", plain)]
        own = self.form.with_instruction(self.settings.text) if self.settings.text else None
        if own:
            asked = partial(own.predict_untuned, self.engine, shots=())
            found.append(PromptStrategy(msg("base model with your prompt"), "prompt", asked))
        if self.shots and self.split.train:
            found += yield from self._few_shot()
        if self.settings.search and self._takes_prompts and self._choosing:
            found.append((yield from self._instructed()))
        return found

    @property
    def _takes_prompts(self) -> bool:
        return self.form.with_instruction("") is not None

    @property
    def _choosing(self) -> ExampleSeq:
        """The validation rows to choose on; none if they are few."""
        rows = self.split.validation[:CHOSEN_ON]
        return rows if len(rows) >= ENOUGH else ()

    @property
    def _generates(self) -> bool:
        """Whether answers must be generated: then the loss of the true ones is read instead, which is far cheaper."""
        return len(self.form.validation_subset(self._choosing)) < len(self._choosing)

    def _few_shot(self) -> Generator[Progress, None, list[PromptStrategy]]:
        """Show the best of several random draws; and, where each row has a prompt of its own, the nearest examples."""
        drawn = range(self.settings.draws if self._choosing else 1)
        draws = [self.form.shots(self.split.train, self.shots, self.seed + number) for number in drawn]
        if not draws[0]:
            return []
        ways = [partial(self.form.predict_untuned, shots=draw) for draw in draws]
        best, selection = yield from self._best("examples", ways)
        title = msg("base model shown {count} {count:example|examples}", count=len(draws[best]))
        if len(draws) > 1:
            title = msg("{name}, the best of {draws} draws", name=title, draws=len(draws))
        strategies = [PromptStrategy(title, "prompt", partial(ways[best], self.engine), selection)]
        if self._takes_prompts and self.settings.nearest:
            count = min(self.shots, len(self.split.train))
            predict = partial(Nearest(self.split.train, count).predict, self.form, self.engine)
            title = msg("base model shown the nearest {count}", count=count)
            strategies.append(PromptStrategy(title, "prompt", predict))
        return strategies

    def _instructed(self) -> Generator[Progress, None, PromptStrategy]:
        languages = Counter(language_of(example.text) for example in self.split.typical[:200])
        texts = INSTRUCTIONS["ru" if languages["Russian"] > languages["English"] else "en"]
        forms = [self.form.with_instruction(text) for text in texts]
        ways = [partial(form.predict_untuned, shots=()) for form in forms if form is not None]
        best, selection = yield from self._best("instructions", ways)
        title = msg("base model + best of {count} instructions", count=len(ways))
        return PromptStrategy(title, "prompt", partial(ways[best], self.engine), selection)

    def _best(self, name: str, ways: Sequence[Way]) -> Generator[Progress, None, tuple[int, Selection]]:
        """Choose a way to ask on the validation rows, the first of equals; return it with what the choice took."""
        if len(ways) == 1:
            return 0, Selection()
        began, rows = time.perf_counter(), self._choosing
        engine = Metered(self.engine, generates=not self._generates)
        answers: list[list[Prediction]] = [[] for _ in ways]
        asked, total = 0, len(rows) * len(ways)
        # judged by the rows so far, another round must fit into the budget; the first always does
        budget = self.settings.budget if self._generates else math.inf
        while asked < len(rows) and (not asked or engine.tokens * (1 + ROUND / asked) <= budget):
            some = rows[asked : asked + ROUND]
            for number, way in enumerate(ways):
                yield Progress(name, asked * len(ways) + number * len(some), total)
                answers[number] += way(engine, some)
            asked += len(some)
        yield Progress(name, total, total)
        scores = [self._score(rows[:asked], predictions) for predictions in answers]
        seconds = time.perf_counter() - began
        return int(np.argmax(scores)), Selection(len(ways), asked, asked * len(ways), engine.tokens, seconds)

    def _score(self, rows: ExampleSeq, predictions: Sequence[Prediction]) -> float:
        """Return the deciding metric or, where answers are generated, the true answers' log-likelihood per token."""
        if not self._generates:
            return self.score(rows, predictions)
        known = [(one.loss, one.tokens) for one in predictions if one.loss is not None and one.tokens]
        return -sum(loss for loss, _ in known) / max(1, sum(tokens for _, tokens in known))


class Metered:
    """An engine that counts the tokens it reads; if it does not generate, every answer is empty."""

    def __init__(self, engine: Engine, *, generates: bool) -> None:
        self.engine, self.generates, self.tokens = engine, generates, 0
        self.tokenizer, self.max_tokens = engine.tokenizer, engine.max_tokens
        self.max_new_tokens = engine.max_new_tokens

    def read(self, items: Sequence[Encoded]) -> list[np.ndarray]:
        """Count and read."""
        return self.engine.read(self._counted(items))

    def losses(self, items: Sequence[Encoded]) -> np.ndarray:
        """Count and read."""
        return self.engine.losses(self._counted(items))

    def generate(self, prompts: Sequence[Encoded]) -> list[str]:
        """Count and generate, if it may."""
        return self.engine.generate(self._counted(prompts)) if self.generates else [""] * len(prompts)

    def answer(self, items: Sequence[Encoded], prompts: Sequence[Encoded]) -> tuple[np.ndarray, list[str]]:
        """Count and read, and generate if it may."""
        if not self.generates:
            return self.losses(items), [""] * len(prompts)
        return self.engine.answer(self._counted(items), self._counted(prompts))

    def embed(self, items: Sequence[Encoded]) -> np.ndarray:
        """Count and read."""
        return self.engine.embed(self._counted(items))

    def _counted(self, items: Sequence[Encoded]) -> Sequence[Encoded]:
        self.tokens += sum(len(sequence.tokens) for item in items for sequence in item.sequences)
        return items


class Nearest:
    """Training examples by their TF-IDF similarity to a row."""

    def __init__(self, examples: ExampleSeq, count: int) -> None:
        self.examples, self.count = examples, count
        self._features = text_features()
        self._known = self._features.fit_transform([example.text for example in examples])

    def of(self, example: Example) -> list[Example]:
        """Return the most similar examples, the most similar one last: nearest to the request."""
        similarity = (self._known @ self._features.transform([example.text]).T).toarray()[:, 0]
        best = sorted(range(len(similarity)), key=lambda i: (-similarity[i], i))[: self.count]
        return [self.examples[i] for i in reversed(best)]

    def predict(self, form: UntunedAnswerer, engine: Engine, examples: ExampleSeq) -> list[Prediction]:
        """Answer each row after its own examples."""
        return form.predict_shown(engine, examples, [self.of(example) for example in examples])
