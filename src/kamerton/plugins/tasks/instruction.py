"""Instruction following: a request, perhaps with an input, and its answer."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import ClassVar

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.messages import system_prompt, text_of
from kamerton.forms.reading import joined
from kamerton.forms.writing import writing_form
from kamerton.plugins.tasks._shared import SYSTEM, WANTED, writing_metrics
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.language_id import looks_like_code

LOOKED_AT = 200


class Instruction(Group):
    """Answer a request in free text."""

    roles: ClassVar = (
        Role(
            "instruction",
            ("instruction", "prompt", "question", "query", "request", "task", "user", "инструкция", "вопрос", "запрос"),
            msg("what is asked"),
            weak=("input", "inputs", "human", "problem", "q", "input_text", "text_input", "user_message", "docstring",
                  "вход"),
        ),
        Role("input", ("input", "context", "вход", "контекст"), msg("what the request is about"), required=False),
        SYSTEM,
        WANTED,
        Role(
            "output",
            ("output", "response", "completion", "answer", "reply", "assistant", "ответ", "вывод"),
            msg("the answer wanted"),
            weak=("outputs", "targets", "solution", "bot", "gpt", "a", "target_text", "bot_response", "sql", "code"),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("decoder", "seq2seq")
    answers: ClassVar = "text"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept any pair of texts that are not programs."""
        texts = all(isinstance(v, str | int | float) for v in columns["output"] if filled(v))
        sides = [[plain(v) for v in columns[side] if filled(v)][:LOOKED_AT] for side in ("instruction", "output")]
        if all(looks_like_code(side) for side in sides):
            return ""  # a program and how it goes on
        return msg("a request and its answer") if texts and any(filled(v) for v in columns["output"]) else ""

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example whose text is the request with its input below.

        The system prompt is in the fields only: many rows share it, and with it they would all look alike.
        """
        request, material = text_of(values["instruction"]), plain(values.get("input"))
        answer = text_of(values["output"])
        fields = {"instruction": request, "input": material, "output": answer}
        if (system := system_prompt(values.get("system"))).strip():
            fields["system"] = system
        return Example(id, place, joined(request, material), answer, fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form of a request, its system prompt, and a free answer. Raises `ModelError` for an encoder."""
        return writing_form(
            kind, attrgetter("text"), examples, system=lambda example: str(example.fields.get("system", ""))
        )

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return exact match first for short closed answers, chrF for long ones."""
        return writing_metrics([example.gold for example in examples])

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few requests in two languages, with and without an input."""
        return [
            {"instruction": "Name the capital of France.", "input": "", "output": "Paris"},
            {"instruction": "Make it polite.", "input": "Give me that.", "output": "Could you give me that, please?"},
            {"instruction": "Назови столицу России.", "input": "", "output": "Москва"},
            {"instruction": "Переведи на русский.", "input": "good morning", "output": "доброе утро"},
            {"instruction": "Who wrote it?", "input": "", "output": "A. Chekhov", "system": "Give initials."},
        ]
