"""Columns beside the text that reveal the label: identifiers, sources, scores."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import SHOWN, first_of, quote, sample, short

TELLING = 0.9
"""Part of the errors of always predicting the commonest label that a column avoids."""
BINS = 50
LEAST_ROWS = 50
DIGITS = re.compile(r"\d+")
INSIDE = 0.3
"""Share of the texts that contain the column's value, from which on the model reads it."""


class RevealingColumns:
    """Find columns that predict the label; the model does not see them unless they are in the text."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Predict labels from each other column: by its value, the size of its number, or the letters of an id."""
        if not context.stratified or len(examples) < LEAST_ROWS or len({e.gold for e in examples}) < 2:
            return None
        golds = [example.gold for example in examples]
        telling = [name for name, values in context.columns.items() if _reveals(values, golds)]
        if not telling:
            return None
        seen = [quote(name) for name in telling if _is_inside(examples, context.columns[name])]
        parts = [
            msg(
                "the label can be predicted from {count:the column|the columns} {names}",
                count=len(telling),
                names=first_of([quote(name) for name in telling]),
            )
        ]
        if seen:
            parts.append(msg("{names} {count:is|are} in the text as well", names=first_of(seen), count=len(seen)))
        values = context.columns[telling[0]]
        return Finding(
            check="revealing-columns",
            severity="warning" if seen else "note",
            title=Joined(tuple(parts)),
            remedy=msg("do not give it to the model: in use such a column is not known yet, or means something else"),
            samples=tuple(sample(e, short(str(values[i]))) for i, e in enumerate(examples[:SHOWN])),
        )


def _reveals(values: Sequence[object], golds: Sequence[str]) -> bool:
    """Return whether a column's values, read in any of three ways, predict the label."""
    written = [str(value) for value in values]
    readings: list[Sequence[Hashable]] = [written]
    numbers = [_number(value) for value in written]
    if sum(not math.isnan(number) for number in numbers) > 0.95 * len(numbers):
        readings.append(_binned(numbers))
    else:
        readings.append([DIGITS.sub("0", value) for value in written])
    return any(len(set(reading)) > 1 and _lift(reading, golds) > TELLING for reading in readings)


def _lift(values: Sequence[Hashable], golds: Sequence[str]) -> float:
    """Return the part of the errors of the commonest label that the values avoid: 1 is all of them."""
    base = Counter(golds).most_common(1)[0][1] / len(golds)
    return (_predicted(values, golds) - base) / (1 - base) if base < 1 else 0.0


def _predicted(values: Sequence[Hashable], golds: Sequence[str]) -> float:
    """Return the share of rows whose label is the commonest among the other rows of the same value.

    Because each row is left out of its own vote, values that occur once predict nothing.
    """
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for value, gold in zip(values, golds, strict=True):
        votes[value][gold] += 1
    right = 0
    for counts in votes.values():
        ordered = counts.most_common(2)
        first, second = ordered[0][1], ordered[1][1] if len(ordered) > 1 else 0
        right += first if first - 1 > second or (second == 0 and first > 1) else 0
    return right / len(golds)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _binned(numbers: Sequence[float]) -> list[int]:
    """Assign numbers to bins of equally many rows, equal numbers to the same."""
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
