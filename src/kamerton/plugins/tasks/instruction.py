"""Instruction following: a request, perhaps with an input, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from statistics import median
from typing import ClassVar

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.messages import system_prompt, text_of
from kamerton.forms.writing import writing_form
from kamerton.plugins.tasks._roles import SYSTEM, WANTED
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, plain
from kamerton.text.language_id import looks_like_code

LOOKED_AT = 200
SHORT_ANSWER = 24
"""Median length in characters up to which answers are closed ones: a name, a number, a word or three."""


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

        Raises:
            Unusable: request or answer are messages.
        """
        request, material = text_of(values["instruction"]), plain(values.get("input"))
        answer = text_of(values["output"])
        text = f"{request}\n\n{material}" if material.strip() else request
        fields = {"instruction": request, "input": material, "output": answer}
        system = system_prompt(values.get("system"))
        return Example(id, place, text, answer, {**fields, "system": system} if system.strip() else fields)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return the form of a request with its system prompt, and a free answer.

        Raises:
            ModelError: an encoder cannot write text.

        """
        return writing_form(kind, attrgetter("text"), examples, _system)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return exact match first for short closed answers, chrF for long ones."""
        short = median(len(example.gold) for example in examples) <= SHORT_ANSWER
        first = ("exact-match", "chrf") if short else ("chrf", "exact-match")
        return (*first, "rouge-l", "perplexity")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few requests in two languages, with and without an input."""
        return [
            {"instruction": "Name the capital of France.", "input": "", "output": "Paris"},
            {
                "instruction": "Make it polite.",
                "input": "Give me that.",
                "output": "Could you give me that, please?",
            },
            {"instruction": "Назови столицу России.", "input": "", "output": "Москва"},
            {"instruction": "Переведи на русский.", "input": "good morning", "output": "доброе утро"},
            {"instruction": "Who wrote it?", "input": "", "output": "A. Chekhov", "system": "Give initials."},
        ]


def _system(example: Example) -> str:
    return str(example.fields.get("system", ""))
