"""Question answering: a context, a question, and the answer in the context's own words, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from kamerton.contracts import Form, ModelKind, Role
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.printed import opened_text
from kamerton.forms.span import SpanReader, answers_of
from kamerton.forms.values import filled, plain
from kamerton.records import Example, Place
from kamerton.settings import Group

ABSENT = "no answer"
"""What is written where a context has no answer."""
MOSTLY = 0.8
"""Share of the answers that must stand in their contexts."""
LETTERS = 3
"""An answer may be so many times as long as the longest training answer."""
SHORTEST = 60


class QuestionAnswering(Group):
    """Answer questions from a text, in its words."""

    stride: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Tokens that a window of a long context shares with the one before it; a quarter if open."
    )
    bar: float = Field(0.0, description="How much more the best span must score than no answer to be given.")

    roles: ClassVar = (
        Role(
            "context",
            ("context", "passage", "paragraph", "article", "story", "контекст", "отрывок", "абзац"),
            "the text that answers",
        ),
        Role("question", ("question", "query", "вопрос"), "what is asked"),
        Role("start", ("start", "answer_start", "start_position"), "the answer's first letter", required=False),
        Role(
            "answer",
            ("answer", "answers", "answer_text", "ответ", "ответы"),
            "the answer, or several that are right; empty where there is none",
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder", "decoder")
    answers: ClassVar = "span"
    stratified: ClassVar = False

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> str:
        """Accept answers that stand in their contexts."""
        rows = zip(columns["context"], columns["question"], columns["answer"], strict=True)
        pairs = [(plain(context), _answers(cell)) for context, asked, cell in rows if filled(context) and filled(asked)]
        given = [(context, found) for context, found in pairs if found]
        inside = sum(any(str(one["text"]) in context for one in found) for context, found in given)
        if not given or inside < MOSTLY * len(given):
            return ""
        return f"{inside / len(given):.0%} of the answers stand in their contexts"

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Make an example; an answer that is not known (null) stays unknown, an empty one means that there is none."""
        context, question, cell = plain(values["context"]), plain(values["question"]), values.get("answer")
        fields: dict[str, object] = {"context": context, "question": question}
        text = f"{question}\n\n{context}" if context.strip() and question.strip() else ""
        if cell is None:
            return Example(id, place, text, "", fields)
        found = [_placed(answer, context, values.get("start")) for answer in _answers(cell)]
        right = list(dict.fromkeys(str(answer["text"]) for answer in found)) or [ABSENT, ""]
        return Example(id, place, text, json.dumps(right, ensure_ascii=False), {**fields, "answer": found})

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Give encoders a span head; let others write the answer."""
        if kind != "encoder":
            return Dialogue(_ask, answers=tuple(map(_first, examples)), answer=_first)
        golds = [answers_of(example)[0] for example in examples]
        return SpanReader(
            longest=max(SHORTEST, LETTERS * max(map(len, golds))),
            may_be_absent=not all(golds),
            stride=self.stride,
            bar=self.bar,
        )

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Let the words that are right decide."""
        return ("squad-f1", "squad-exact-match")

    def example_rows(self) -> list[dict[str, object]]:
        """Give a few questions in two languages, with and without a position, and one without an answer."""
        return [
            {"context": "Anna lives in Oslo.", "question": "Where does Anna live?", "answer": "Oslo"},
            {"context": "Анна живёт в Омске.", "question": "Где живёт Анна?",
             "answer": {"text": ["Омске", "в Омске"], "answer_start": [13, 11]}},
            {"context": "The train leaves at 7:45.", "question": "When does it leave?", "answer": "7:45", "start": 20},
            {"context": "The train leaves at 7:45.", "question": "Who drives it?", "answer": ""},
        ]  # fmt: skip


def _ask(example: Example) -> str:
    """Put a context and a question to a model that writes."""
    context, question = example.fields["context"], example.fields["question"]
    return f"{context}\n\nAnswer in the words of the text above, or with: {ABSENT}.\n{question}"


def _first(example: Example) -> str:
    """Give the first answer that is right, as it is written."""
    return answers_of(example)[0] or ABSENT


def _answers(cell: object) -> list[dict[str, object]]:
    """List the answers in a cell: a text, a list, or SQuAD's objects with `text` and `answer_start`."""
    cell = opened_text(cell)
    if isinstance(cell, Mapping):
        texts, starts = cell.get("text"), cell.get("answer_start", cell.get("start"))
        if not isinstance(texts, list):
            return [{"text": plain(texts), "answer_start": starts}] if filled(texts) else []
        places = starts if isinstance(starts, list) and len(starts) == len(texts) else [None] * len(texts)
        return [{"text": plain(text), "answer_start": at} for text, at in zip(texts, places, strict=True)]
    if isinstance(cell, list | tuple):
        return [answer for one in cell for answer in _answers(one)]
    return [{"text": plain(cell)}] if filled(cell) else []


def _placed(answer: Mapping[str, object], context: str, start: object) -> dict[str, object]:
    """Find where an answer stands: where it is said to, if it does stand there, else where it stands first."""
    text = str(answer["text"]).strip()
    for said in (answer.get("answer_start"), start):
        if isinstance(said, int) and context[said : said + len(text)] == text:
            return {"text": text, "answer_start": said}
    at = context.find(text)
    return {"text": text, "answer_start": at if at >= 0 else context.casefold().find(text.casefold())}
