"""How well one thing tells the label, so that rows are not judged by themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence


def told_share(values: Sequence[Hashable], golds: Sequence[str]) -> float:
    """Give the share of rows whose label is the commonest among the other rows of the same value.

    Leaving each row out of its own vote makes values that occur once tell nothing.
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


def lift(values: Sequence[Hashable], golds: Sequence[str]) -> float:
    """Give the part of what the commonest label alone leaves wrong that the values put right: 1 is all of it."""
    base = Counter(golds).most_common(1)[0][1] / len(golds)
    return (told_share(values, golds) - base) / (1 - base) if base < 1 else 0.0
