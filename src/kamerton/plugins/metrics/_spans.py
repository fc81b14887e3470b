"""Metrics of tagged words as counts of spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.records import Prediction
from kamerton.text.tags import OUTSIDE, Span, read_list, spans


def as_long(tags: Sequence[str], words: int) -> list[str]:
    """Cut or extend tags to a number of words; words without a tag are outside."""
    return [*tags[:words], *[OUTSIDE] * (words - len(tags))]


def found_spans(gold: str, answer: str) -> tuple[set[Span], set[Span]]:
    """Find the spans of the gold tags, and of the answer's for the same words."""
    wanted = read_list(gold)
    return set(spans(wanted)), set(spans(as_long(read_list(answer), len(wanted))))


def span_counts(golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
    """Count each row: `[rows, 3, kinds]`: right, gold, predicted; the kinds of spans are all that occur, sorted."""
    rows = [found_spans(gold, p.text) for gold, p in zip(golds, predictions, strict=True)]
    kinds = sorted({span.kind for row in rows for side in row for span in side})
    index = {kind: i for i, kind in enumerate(kinds)}
    counts = np.zeros((len(rows), 3, len(kinds)))
    for row, (wanted, given) in zip(counts, rows, strict=True):
        for block, side in enumerate((wanted & given, wanted, given)):
            for span in side:
                row[block, index[span.kind]] += 1
    return counts
