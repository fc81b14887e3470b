"""Question answering: a context, a question, and the answer in the context's own words, or none."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, get_args

from pydantic import Field

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.errors import Unusable
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.dialogue import Dialogue
from kamerton.forms.offsets import Counting, Unit
from kamerton.forms.span import SpanReader, answers_of
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.printed import opened_text

ABSENT = "no answer"
"""The answer where a context has none."""
MOSTLY = 0.8
"""Share of the answers that must be in their contexts."""
LETTERS = 3
"""An answer may be so many times as long as the longest training answer."""
SHORTEST = 60
SEVERAL = 1000
"""Places of an answer that are looked at."""


class QuestionAnswering(Group):
    """Answer questions in the words of a text."""

    stride: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Tokens shared by consecutive windows of a long context; a quarter if open."
    )
    bar: float = Field(0.0, description="The margin by which the best span must beat no answer.")

    roles: ClassVar = (
        Role(
            "context",
            ("context", "passage", "paragraph", "article", "story", "контекст", "отрывок", "абзац"),
            msg("the text that answers"),
        ),
        Role("question", ("question", "query", "вопрос"), msg("what is asked")),
        Role("start", ("start", "answer_start", "start_position"), msg("the answer's first letter"), required=False,
             letters_of="context"),
        Role(
            "answer",
            ("answer", "answers", "answer_text", "ответ", "ответы"),
            msg("the answer, or several that are right; empty where there is none"),
            letters_of="context",
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder", "decoder")
    answers: ClassVar = "span"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept answers that are in their contexts."""
        rows = zip(columns["context"], columns["question"], columns["answer"], strict=True)
        pairs = [(plain(context), _answers(cell)) for context, asked, cell in rows if filled(context) and filled(asked)]
        given = [(context, found) for context, found in pairs if found]
        inside = sum(any(str(one["text"]) in context for one in found) for context, found in given)
        if not given or inside < MOSTLY * len(given):
            return ""
        figure = Figure(round(inside / len(given), 2), "percent")
        share = msg("{share} of the answers are in their contexts", share=figure)
        none = len(pairs) - len(given)
        return Joined((share, msg("{none} {none:question has|questions have} no answer", none=none))) if none else share

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; a null answer is unknown, an empty one means that there is none."""
        context, question, cell = plain(values["context"]), plain(values["question"]), values.get("answer")
        fields: dict[str, object] = {"context": context, "question": question}
        text = f"{question}\n\n{context}" if context.strip() and question.strip() else ""
        if cell is None:
            return Example(id, place, text, "", fields)
        found = [_placed(answer, context, values.get("start")) for answer in _answers(cell)]
        right = list(dict.fromkeys(str(answer["text"]) for answer in found)) or [ABSENT, ""]
        moved = [str(answer["text"]) for answer in found if answer.pop("moved", False)]
        fields |= {"answer": found, **({"moved": moved} if moved else {})}
        return Example(id, place, text, json.dumps(right, ensure_ascii=False), fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return a span head for encoders; other models generate the answer."""
        if kind != "encoder":
            return Dialogue(_ask, answers=tuple(map(_first, examples)), answer=_first)
        golds = [answers_of(example)[0] for example in examples]
        longest = max(SHORTEST, LETTERS * max(map(len, golds)))
        return SpanReader(longest=longest, may_be_absent=not all(golds), stride=self.stride, bar=self.bar)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return the F1 of words first."""
        return ("squad-f1", "squad-exact-match")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few questions in two languages, with and without a position, and one without an answer."""
        return [
            {"context": "Anna lives in Oslo.", "question": "Where does Anna live?", "answer": "Oslo"},
            {"context": "Анна живёт в Омске.", "question": "Где живёт Анна?",
             "answer": {"text": ["Омске", "в Омске"], "answer_start": [13, 11]}},
            {"context": "The train leaves at 7:45.", "question": "When does it leave?", "answer": "7:45", "start": 20},
            {"context": "The train leaves at 7:45.", "question": "Who drives it?", "answer": ""},
        ]  # fmt: skip


def _ask(example: Example) -> str:
    context, question = example.fields["context"], example.fields["question"]
    return f"{context}\n\nAnswer in the words of the text above, or with: {ABSENT}.\n{question}"


def _first(example: Example) -> str:
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
    """Locate an answer: at the given place, else at the only place where it is, which is noted."""
    whole = str(answer["text"])
    text, before = whole.strip(), len(whole) - len(whole.lstrip())
    places = _places(text, context) or _places(text.casefold(), context.casefold())
    for said in (answer.get("answer_start"), start):
        digits = plain(said).strip()
        if not digits.isdecimal() or not places:
            continue
        at = int(digits)
        if at + before in places:
            return {"text": text, "answer_start": at + before}
        found = [place for place in places if place in _counted(context, at)] or places
        if len(found) > 1:
            rule = "the answer '{text}' is not at {at}, but at {count} other places"
            raise Unusable(msg(rule, text=text, at=at, count=len(found)))
        return {"text": text, "answer_start": found[0], "moved": True}
    return {"text": text, "answer_start": places[0] if places else -1}


def _places(text: str, context: str) -> list[int]:
    places, at = list[int](), context.find(text) if text else -1
    while at >= 0 and len(places) < SEVERAL:
        places.append(at)
        at = context.find(text, at + 1)
    return places


def _counted(context: str, said: int) -> list[int]:
    """List the letters that a position may mean if it does not count letters from 0."""
    ways = [*(Counting(unit) for unit in get_args(Unit)[1:]), Counting(first=1)]
    return [at for way in ways if (at := way.letter(context, said)) is not None]
