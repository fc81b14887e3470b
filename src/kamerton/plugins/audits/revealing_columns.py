"""Columns beside the text that reveal the label: identifiers, sources, scores."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import SHOWN, Check, Data, first_of, quote, sample, short

TELLING = 0.9
"""Part of the errors of always predicting the commonest label that a column avoids."""
BINS = 50
LEAST_ROWS = 50
DIGITS = re.compile(r"\d+")
INSIDE = 0.3
"""Share of the texts that contain the column's value, from which on the model reads it."""


class RevealingColumns(Check):
    """Find columns that predict the label; the model does not see them unless they are in the text."""

    def find(self, data: Data) -> Finding | None:
        """Predict labels from each other column: by its value, the size of its number, or the letters of an id."""
        golds = [example.gold for example in data.examples]
        if not data.context.stratified or len(golds) < LEAST_ROWS or len({*golds}) < 2:
            return None
        telling = [name for name, values in data.context.columns.items() if _reveals(values, golds)]
        if not telling:
            return None
        seen = [quote(name) for name in telling if _is_inside(data.examples, data.context.columns[name])]
        names = first_of([quote(name) for name in telling])
        template = "the label can be predicted from {count:the column|the columns} {names}"
        parts = [msg(template, count=len(telling), names=names)]
        if seen:
            parts.append(msg("{names} {count:is|are} in the text as well", names=first_of(seen), count=len(seen)))
        values = data.context.columns[telling[0]]
        remedy = msg("do not give it to the model: in use such a column is not known yet, or means something else")
        shown = tuple(sample(e, short(str(values[i]))) for i, e in enumerate(data.examples[:SHOWN]))
        return Finding("revealing-columns", "warning" if seen else "note", Joined(parts), remedy, samples=shown)


def _reveals(values: Sequence[object], golds: Sequence[str]) -> bool:
    """Return whether a column's values, read in any of three ways, predict the label."""
    written = [str(value) for value in values]
    numbers = [_number(value) for value in written]
    numeric = sum(not math.isnan(number) for number in numbers) > 0.95 * len(numbers)
    reading: Sequence[Hashable] = _binned(numbers) if numeric else [DIGITS.sub("0", value) for value in written]
    base = Counter(golds).most_common(1)[0][1] / len(golds)
    useful = [some for some in (written, reading) if len(set(some)) > 1]
    return any((_predicted(some, golds) - base) / (1 - base) > TELLING for some in useful)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _predicted(values: Sequence[Hashable], golds: Sequence[str]) -> float:
    """Return the share of rows whose label is the commonest among the other rows of the same value.

    Because each row is left out of its own vote, values that occur once predict nothing.
    """
    votes: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for value, gold in zip(values, golds, strict=True):
        votes[value][gold] += 1
    right = 0
    for counts in votes.values():
        first, second, *_ = *sorted(counts.values(), reverse=True), 0
        right += first if first - 1 > second or (second == 0 and first > 1) else 0
    return right / len(golds)


def _binned(numbers: Sequence[float]) -> list[int]:
    """Assign numbers to bins of equally many rows, equal numbers to the same."""
    order = sorted(range(len(numbers)), key=lambda i: (math.isnan(numbers[i]), numbers[i]))
    bins, width = [0] * len(numbers), max(1, len(numbers) // BINS)
    for rank, i in enumerate(order):
        before = order[rank - 1]
        bins[i] = bins[before] if rank and numbers[i] == numbers[before] else rank // width
    return bins


def _is_inside(examples: Sequence[Example], values: Sequence[object]) -> bool:
    pairs = ((example.text.casefold(), str(value)) for example, value in zip(examples[:2000], values, strict=False))
    held = [value.casefold() in text for text, value in pairs if len(value) > 2]
    return sum(held) > INSIDE * len(held)
