"""Texts and answers of examples, read without making the examples, which takes seconds for a million rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example
from kamerton.text.tags import read_list


def texts_of(examples: Sequence[Example], context: AuditContext) -> Sequence[str]:
    """Return the text of each example."""
    return context.texts if context.texts is not None else [example.text for example in examples]


def golds_of(examples: Sequence[Example], context: AuditContext) -> Sequence[str]:
    """Return the right answer of each example."""
    return context.golds if context.golds is not None else [example.gold for example in examples]


def chosen(examples: Sequence[Example], *places: Iterable[int]) -> list[Example]:
    """Return the examples at places, each once, in order."""
    return [examples[at] for at in sorted({at for some in places for at in some})]


def labels_of(gold: str, context: AuditContext) -> list[str]:
    """List the labels of a right answer; none where answers are no labels."""
    if not gold.strip():
        return []
    if context.answers == "classes":
        return read_list(gold)
    return [gold] if context.stratified else []


def label_counts(examples: Sequence[Example], context: AuditContext) -> Counter[str]:
    """Count the rows of each label."""
    counts = Counter[str]()
    for gold, rows in Counter(golds_of(examples, context)).items():
        counts.update(dict.fromkeys(labels_of(gold, context), rows))
    return counts


def with_labels(examples: Sequence[Example], context: AuditContext, wanted: Iterable[str]) -> list[Example]:
    """Return the examples that have one of some labels."""
    names = set(wanted)
    return [example for example in examples if not names.isdisjoint(labels_of(example.gold, context))]
