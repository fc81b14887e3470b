"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AnswerKind
from kamerton.core.outcomes import ClassResult
from kamerton.core.records import Example, Prediction
from kamerton.text.tags import read_list


def class_results(
    examples: Sequence[Example], predictions: Sequence[Prediction], answers: AnswerKind
) -> tuple[ClassResult, ...]:
    """Return precision, recall, F1 and support of every class that is gold or predicted, in alphabetical order."""
    if answers == "class":
        golds, given = [[example.gold] for example in examples], [[p.text] for p in predictions]
    elif answers == "classes":
        golds, given = [read_list(e.gold) for e in examples], [read_list(p.text) for p in predictions]
    else:
        return ()
    right = Counter(label for gold, own in zip(golds, given, strict=True) for label in {*gold} & {*own})
    wanted, found = (Counter(label for row in side for label in row) for side in (golds, given))
    return tuple(_result(name, right[name], wanted[name], found[name]) for name in sorted(wanted | found))


def _result(name: str, right: int, wanted: int, found: int) -> ClassResult:
    return ClassResult(name, right / max(found, 1), right / max(wanted, 1), 2 * right / (wanted + found), wanted)
