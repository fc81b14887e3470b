"""How rows are grouped into forward passes, within budgets of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout


def passes_of(layout: Layout, rows: Sequence[Encoded], max_tokens: int, max_reads: int) -> list[list[int]]:
    """Cut an update's rows into forward passes as `split_passes` does; what all begin with counts once in each.

    Args:
        layout: how they will be run.
        rows: each with its sequences.
        max_tokens: of a pass.
        max_reads: of a pass.
    """
    sequences = [row.sequences for row in rows]
    common = layout.common([sequence for own in sequences for sequence in own])
    return split_passes(
        [sum(len(sequence.tokens) - common for sequence in own) for own in sequences],
        [sum(len(sequence.output_positions) for sequence in own) for own in sequences],
        max_tokens - common,
        max_reads,
    )


def split_passes(lengths: Sequence[int], reads: Sequence[int], max_tokens: int, max_reads: int) -> list[list[int]]:
    """Cut one update into forward passes, each within its budgets of tokens and of reads.

    Rows are sorted by length first, so that rows of like length meet (less padding where a layout
    pads, fewer attention calls where it does not).
    """
    passes: list[list[int]] = []
    tokens = supervised = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        tokens += lengths[index]
        supervised += reads[index]
        if not passes or tokens > max_tokens or supervised > max_reads:
            passes.append([])
            tokens, supervised = lengths[index], reads[index]
        passes[-1].append(index)
    return passes


def token_batches(lengths: Sequence[int], tokens: int, items: int) -> Iterator[list[int]]:
    """Group indices by length, longest first, each group within `tokens` (padded) and `items`.

    The longest go first so that a lack of memory shows at once.

    >>> list(token_batches([3, 9, 4, 1], tokens=9, items=2))
    [[1], [2, 0], [3]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == items or lengths[batch[0]] * (len(batch) + 1) > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
