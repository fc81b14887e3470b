"""How rows are grouped into forward passes within token budgets."""

from collections.abc import Iterator, Sequence

from kamerton.core.records import Encoded
from kamerton.engine.layout import Layout


def passes_of(layout: Layout, rows: Sequence[Encoded], max_tokens: int, max_outputs: int) -> list[list[int]]:
    """Split rows into forward passes as `split_passes` does; a prefix that all share counts once in each."""
    sequences = [row.sequences for row in rows]
    common = layout.common([sequence for own in sequences for sequence in own])
    return split_passes(
        [sum(len(sequence.tokens) - common for sequence in own) for own in sequences],
        [sum(len(sequence.output_positions) for sequence in own) for own in sequences],
        max_tokens - common,
        max_outputs,
    )


def split_passes(lengths: Sequence[int], outputs: Sequence[int], max_tokens: int, max_outputs: int) -> list[list[int]]:
    """Split rows into forward passes, each within its budgets of tokens and of output positions.

    Rows are sorted by length: less padding where a layout pads, fewer attention calls where it does not.
    """
    passes: list[list[int]] = []
    tokens = supervised = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        tokens += lengths[index]
        supervised += outputs[index]
        if not passes or tokens > max_tokens or supervised > max_outputs:
            passes.append([])
            tokens, supervised = lengths[index], outputs[index]
        passes[-1].append(index)
    return passes


def token_batches(lengths: Sequence[int], tokens: int, items: int) -> Iterator[list[int]]:
    """Group indices by length, longest first, each group within `tokens` (padded) and `items`.

    The longest go first, so that memory runs out at once or never.

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
