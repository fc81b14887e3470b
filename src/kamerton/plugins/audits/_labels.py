"""The labels of an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example
from kamerton.text.tags import read_list


def labels_of(gold: str, context: AuditContext) -> list[str]:
    """List the labels of a right answer, none where answers are no labels."""
    if not gold.strip():
        return []
    if context.answers == "classes":
        return read_list(gold)
    return [gold] if context.stratified else []


def label_counts(examples: Sequence[Example], context: AuditContext) -> Counter[str]:
    """Count the rows of each label; where the answers are at hand, no example is made for it."""
    counts = Counter[str]()
    for gold, rows in Counter(golds_of(examples, context)).items():
        counts.update(dict.fromkeys(labels_of(gold, context), rows))
    return counts


def golds_of(examples: Sequence[Example], context: AuditContext) -> Sequence[str]:
    """List the right answers in order."""
    return context.golds if context.golds is not None else [example.gold for example in examples]
