"""Resampling of rows, or of groups of rows, by matrix products."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kamerton.core.contracts import Metric
from kamerton.core.records import Prediction

Value = Callable[[np.ndarray], np.ndarray]
"""A metric's `value`: summed statistics `[..., k]` to scores `[...]`."""

ELEMENTS = 2_000_000
"""Entries of a resampling matrix that are held at once: 16 MB in float64."""
NOTHING = 1e-12
"""Scores that differ by less are equal up to rounding."""


@dataclass(frozen=True)
class Block:
    """Statistics `[rows, k]` and what turns their sums into scores."""

    statistics: np.ndarray
    value: Value

    @property
    def score(self) -> float:
        """The score of all rows."""
        return float(self.value(self.statistics.sum(axis=0)))

    @property
    def left_out(self) -> np.ndarray:
        """The score of the whole without each row: `[rows]`."""
        return self.value(self.statistics.sum(axis=0) - self.statistics)


def paired(
    metric: Metric, golds: Sequence[str], answers: Sequence[Sequence[Prediction]], groups: Sequence[str]
) -> list[Block]:
    """Count several contenders' answers to the same rows together, so that the blocks have the same columns."""
    together = metric.statistics([*golds] * len(answers), [p for one in answers for p in one])
    return [Block(grouped(part, groups), metric.value) for part in np.split(together, len(answers))]


def grouped(statistics: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Sum the statistics of rows that belong together: `[rows, k]` to `[groups, k]`.

    Rows of one document, user or conversation are alike, and count as one draw (Miller 2024, "Adding Error Bars to
    Evals"). A row without a group is its own.
    """
    if not clustered(groups):
        return statistics
    _, index = np.unique([group or f"\0{row}" for row, group in enumerate(groups)], return_inverse=True)
    sums = np.zeros((index.max() + 1, statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums


def clustered(groups: Sequence[str]) -> bool:
    """Return whether any two rows belong together."""
    named = [group for group in groups if group]
    return len(set(named)) < len(named)


def bootstrap_values(blocks: Sequence[Block], resamples: int, seed: int) -> np.ndarray:
    """Score blocks of the same rows on the same resamples: `[blocks, resamples]`."""
    values = np.empty((len(blocks), resamples))
    rows, done = (len(blocks[0].statistics) if blocks else 0), 0
    for counts in _resampled_counts(rows, resamples if blocks else 0, seed):
        for row, block in zip(values, blocks, strict=True):
            row[done : done + len(counts)] = block.value(counts @ block.statistics)
        done += len(counts)
    return values


def swapped_p(first: Block, others: Sequence[Block], resamples: int, seed: int) -> list[float]:
    """Test by approximate randomisation whether one contender differs from each of others, on both sides.

    Under the null hypothesis each row's two answers might as well have been swapped (Noreen 1989). With `b` of `m`
    random swappings at least as far apart as the real answers, p = (b + 1) / (m + 1), which is never 0.
    All pairs share the same swappings.
    """
    moves = [other.statistics - first.statistics for other in others]
    extreme = [0] * len(others)
    observed = [abs(_gap(first, other, 0.0)) for other in others]
    moving = np.any([np.any(move != 0, axis=1) for move in moves], axis=0)  # swapping equal rows changes nothing
    moves = [move[moving] for move in moves]
    generator, rows = np.random.default_rng(seed), int(moving.sum())
    for size in chunks(resamples, rows):
        swaps = generator.integers(0, 2, (size, rows), dtype=np.int8).astype(np.float64)
        for i, (other, move) in enumerate(zip(others, moves, strict=True)):
            extreme[i] += int((np.abs(_gap(first, other, swaps @ move)) >= observed[i] - NOTHING).sum())
    return [(count + 1) / (resamples + 1) for count in extreme]


def _gap(first: Block, other: Block, moved: np.ndarray | float) -> np.ndarray:
    ours, theirs = first.statistics.sum(axis=0), other.statistics.sum(axis=0)
    return first.value(ours + moved) - other.value(theirs - moved)


def standard_error(left_out: np.ndarray, value: float) -> float:
    """Return the jackknife standard error (Efron and Tibshirani 1993, ch. 11); for one row at least 1."""
    known = left_out[np.isfinite(left_out)]
    if len(known) < 2:
        return max(1.0, abs(value))
    return float(math.sqrt((len(known) - 1) * known.var()))


def chunks(resamples: int, rows: int) -> Iterator[int]:
    """Split the resamples so that `ELEMENTS` bounds the memory."""
    chunk = max(1, ELEMENTS // max(1, rows))
    for done in range(0, resamples, chunk):
        yield min(chunk, resamples - done)


def _resampled_counts(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw `rows` rows with replacement, `resamples` times, and yield the counts of each: `[some, rows]`."""
    generator = np.random.default_rng(seed)
    for size in chunks(resamples, rows):
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)
