"""Regression: a text or two, and a number."""

from collections.abc import Mapping, Sequence
from statistics import mean, pstdev
from typing import ClassVar

from kamerton.core.contracts import Form, ModelKind, Role
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, Place
from kamerton.forms.number import Number
from kamerton.plugins.tasks._shared import FIRST_TEXT, RATINGS, SECOND_TEXT, text_example, tried
from kamerton.runs.settings import Group
from kamerton.text.cells import filled, number_in, written_number
from kamerton.text.label_values import is_placeholder

MANY = 20
"""More different whole numbers than this are hardly classes."""


class Regression(Group):
    """Predict a number from one text or two: a rating, a price, a similarity."""

    roles: ClassVar = (
        Role("text", FIRST_TEXT, msg("the text, or the first of two")),
        Role("second", SECOND_TEXT, msg("the second text, where pairs are measured"), required=False),
        Role(
            "number",
            ("number", "value", "target", "similarity", "similarity_score", "relatedness", "relatedness_score",
             "label", "labels", "y", "число", "значение", "сходство"),
            msg("the number"),
            weak=(*RATINGS, "price", "цена"),
        ),
    )  # fmt: skip
    kinds: ClassVar = ("encoder",)
    answers: ClassVar = "number"

    def plausible(self, columns: Mapping[str, Sequence[object]]) -> Wording:
        """Accept numbers that are measurements: with decimals, or of many different values."""
        cells = [value for value in columns["number"] if _is_given(value)]
        numbers = tried(lambda: [number_in(value) for value in cells])
        if not numbers or (all(one.is_integer() for one in numbers) and len(set(numbers)) <= MANY):
            return ""
        return msg("'number' holds numbers from {low} to {high}", low=f"{min(numbers):g}", high=f"{max(numbers):g}")

    def example(self, id: int, place: Place, values: Mapping[str, object]) -> Example:
        """Return an example; an empty number, or a placeholder such as `N/A`, is left empty for the audit to find."""
        cell = values["number"]
        gold = written_number(number_in(cell), exact=True) if _is_given(cell) else ""
        return text_example(id, place, values, "number", gold)

    def form(self, kind: ModelKind, examples: Sequence[Example]) -> Form:
        """Return a head with one output, scaled to the training numbers."""
        numbers = [float(example.gold) for example in examples]
        return Number(mean=mean(numbers), spread=pstdev(numbers) or 1.0)

    def metrics(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """Return rank correlation first."""
        return ("spearman", "pearson", "mae", "rmse")

    def example_rows(self) -> list[dict[str, object]]:
        """Return a few ratings in two languages, and a pair."""
        return [
            {"text": "A warm and funny film.", "number": 4.5},
            {"text": "I want those two hours back.", "number": 1.25},
            {"text": "Тёплый и смешной фильм.", "number": "4,5"},
            {"text": "A man plays a guitar.", "second": "Someone plays an instrument.", "number": 3.8},
        ]


def _is_given(cell: object) -> bool:
    return filled(cell) and not (isinstance(cell, str) and is_placeholder(cell))
