"""Multiple choice: a question, some options of its own, and which of them is right."""

import string
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, TypeGuard

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.dialogue import OptionChoice
from kamerton.forms.writing import require_writer
from kamerton.plugins.tasks._shared import paragraphs, rows_of, tried
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened

SERIES = (
    "option", "choice", "answer", "ending", "sol", "solution", "opt", "op", "ans", "candidate", "alternative",
    "вариант", "вариант ответа", "ответ", "",
)  # fmt: skip
"""Names of columns for an option each, before its number or letter."""


class MultipleChoice(Group):
    """Choose the right one of a question's own options."""

    listed: bool = Field(True, description="Whether the request lists the options; if not, it is the question alone.")
    first: Annotated[int, Field(ge=0, le=1)] = Field(
        0, description="The first option's number, where answers are numbers; found from the answers if they tell."
    )

    roles: ClassVar = (
        Role(
            "question",
            ("question", "query", "question_stem", "stem", "ctx", "sentence", "startphrase", "prompt", "goal",
             "sent1", "вопрос"),
            msg("what is asked, or a text to continue"),
            weak=("context", "text", "контекст", "текст"),
        ),
        Role("passage", ("passage", "article", "context", "story", "premise", "текст", "отрывок", "контекст"),
             msg("what the question is about"), required=False),
        Role("options", ("options", "choices", "endings", "candidates", "варианты", "варианты ответа"),
             msg("a list of answers, one of which is right; or a column for each"), series=SERIES),
        Role(
            "answer",
            ("answer", "answer_key", "label", "correct", "correct_answer", "answer_idx", "answer_index", "gold",
             "cop", "correct_option", "ответ", "правильный ответ"),
            msg("the right option: its number, its letter, or its text"),
            settings=lambda rows: ({"first": 0}, {"first": 1}),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder",)
    answers: ClassVar = "text"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept lists of at least two options of which each answer names one."""
        rows = [row for row in rows_of(columns) if filled(row["options"]) and filled(row["answer"])]
        if not tried(lambda: [self.example(0, Place("", 0), row) for row in rows]):
            return ""
        counts = {len(_options(row["options"])) for row in rows}
        least, most = min(counts), max(counts)
        if least < 2:
            return ""
        parts = [
            msg("each question has {count} options", count=least)
            if least == most
            else msg("each question has {least} to {most} options", least=least, most=most)
        ]
        if any(plain(row["answer"]).strip().isdigit() for row in rows):
            parts.append(msg("the first one's number is {first}", first=self.first))
        return Joined(tuple(parts))

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose answer is the right option's text, which must be one of the options."""
        question, passage = plain(values["question"]).strip(), plain(values.get("passage")).strip()
        options = _options(values["options"])
        gold = self._right(values.get("answer"), values["options"], options)
        listed = "\n".join(f"- {option}" for option in options) if self.listed else ""
        text = paragraphs(passage, question, listed) if question else ""
        fields = {"question": question, "passage": passage, "options": options, "answer": gold}
        return Example(id, place, text, gold, fields)

    def _right(self, answer: object, cell: object, options: Sequence[str]) -> str:
        if not filled(answer):
            return ""
        word = plain(answer).strip()
        named = _named(cell, options)
        if isinstance(answer, str) and (word in options or word.casefold() in named):
            return word if word in options else named[word.casefold()]
        at = int(word) - self.first if word.isascii() and word.isdigit() else -1
        if 0 <= at < len(options):
            return options[at]
        raise Unusable(
            msg("the answer '{answer}' is none of the {count} {count:option|options}", answer=word, count=len(options))
        )

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form that scores the options as answers. Raises `ModelError` for an encoder."""
        require_writer(kind)
        return OptionChoice(ask=lambda example: example.text)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return the share of right choices."""
        return ("accuracy",)

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few questions in two languages, their answers named in each of the ways."""
        return [
            {"question": "The capital of France is", "options": ["Paris", "Rome", "Oslo"], "answer": 0},
            {"question": "Which one flies?", "options": {"text": ["a stone", "a swift"], "label": ["A", "B"]},
             "answer": "B"},
            {"question": "Столица России?", "options": ["Киров", "Москва", "Тула", "Омск"], "answer": "Москва"},
            {"passage": "Anna sold her bicycle.", "question": "What did she sell?",
             "options": '["a car", "a bicycle"]', "answer": "1"},
            {"question": "Which one swims?", "options": {"A": "a stone", "B": "a swift", "C": "a carp"}, "answer": "c"},
        ]  # fmt: skip


def _options(cell: object) -> list[str]:
    """List the options: of a list, of JSON, of an object with their `text`, or of one that holds each by its name."""
    cell = opened(cell)
    if _by_names(cell):
        return [plain(option).strip() for option in cell.values()]
    texts = cell.get("text") if isinstance(cell, Mapping) else cell
    if not isinstance(texts, list | tuple) or not texts:
        raise Unusable(msg("there is no list of options"))
    return [plain(one.get("text") if isinstance(one, Mapping) else one).strip() for one in texts]


def _named(cell: object, options: Sequence[str]) -> dict[str, str]:
    """Return the options by their own names if they have some, else by letters; all names in small letters."""
    cell = opened(cell)
    names = cell.get("label") if isinstance(cell, Mapping) else None
    if isinstance(cell, list | tuple) and all(isinstance(one, Mapping) and "label" in one for one in cell):
        names = [one["label"] for one in cell]
    letters = [plain(name) for name in names] if isinstance(names, list) else list(string.ascii_uppercase)
    whole = list(map(str, cell)) if _by_names(cell) else []
    differ = next((at for at, signs in enumerate(zip(*whole, strict=False)) if len(set(signs)) > 1), 0)
    ends = [name[differ:] for name in whole]
    if ends and all(end.isalpha() for end in ends):
        letters = ends
    pairs = [*zip(whole, options, strict=False), *zip(letters, options, strict=False)]
    return {name.strip().casefold(): option for name, option in pairs}


def _by_names(cell: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether a cell holds options by their names: `{"A": "a stone", "B": "a swift"}`."""
    return isinstance(cell, Mapping) and bool(cell) and all(isinstance(one, str | int | float) for one in cell.values())
