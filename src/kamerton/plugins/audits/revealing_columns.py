"""Columns beside the text that tell the label: identifiers, sources, scores."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._telling import lift
from kamerton.plugins.audits._wording import short

TELLING = 0.9
"""Part of the errors of always naming the commonest label that a column puts right."""
BINS = 50
LEAST_ROWS = 50
DIGITS = re.compile(r"\d+")
INSIDE = 0.3
"""Share of the texts that hold the column's value, from which on the model reads it."""


class RevealingColumns:
    """Find columns from which the label can be told; the model does not see them unless they are in the text."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Guess labels from each other column: by its value, its number's size, or the letters of an identifier."""
        if not context.stratified or len(examples) < LEAST_ROWS or len({e.gold for e in examples}) < 2:
            return None
        golds = [example.gold for example in examples]
        telling = [name for name, values in context.columns.items() if _tells(values, golds)]
        if not telling:
            return None
        seen = [name for name in telling if _is_inside(examples, context.columns[name])]
        names = ", ".join(f"'{name}'" for name in telling)
        where = f"; {', '.join(repr(name) for name in seen)} can be read in the text as well" if seen else ""
        return Finding(
            check="revealing-columns",
            severity="warning" if seen else "note",
            title=f"the label can be told from the column {names}{where}",
            remedy="do not give it to the model: where it will be asked such a column is not known, "
            "or says another thing",
            samples=tuple(
                f"{e.place}: {short(str(context.columns[telling[0]][i]))} → {short(e.gold)}"
                for i, e in enumerate(examples[:5])
            ),
        )


def _tells(values: Sequence[object], golds: Sequence[str]) -> bool:
    """Say whether a column's values, in any of three readings, tell the label."""
    written = [str(value) for value in values]
    readings: list[Sequence[Hashable]] = [written]
    numbers = [_number(value) for value in written]
    if sum(not math.isnan(number) for number in numbers) > 0.95 * len(numbers):
        readings.append(_binned(numbers))
    else:
        readings.append([DIGITS.sub("0", value) for value in written])
    return any(len(set(reading)) > 1 and lift(reading, golds) > TELLING for reading in readings)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _binned(numbers: Sequence[float]) -> list[int]:
    """Put numbers into bins of equally many rows, equal numbers into the same."""
    order = sorted(range(len(numbers)), key=lambda i: (math.isnan(numbers[i]), numbers[i]))
    bins, width = [0] * len(numbers), max(1, len(numbers) // BINS)
    for rank, i in enumerate(order):
        before = order[rank - 1]
        bins[i] = bins[before] if rank and numbers[i] == numbers[before] else rank // width
    return bins


def _is_inside(examples: Sequence[Example], values: Sequence[object]) -> bool:
    held = [
        str(value).casefold() in example.text.casefold()
        for example, value in list(zip(examples, values, strict=True))[:2000]
        if len(str(value)) > 2
    ]
    return bool(held) and sum(held) > INSIDE * len(held)
