"""Learning curves: scores measured at a few training sizes and extrapolated by several laws, with a band.

The score is that of a linear head on frozen features: fifteen heads per size cost seconds, fifteen trainings hours.
Every row is scored by heads that did not see it or a near-duplicate of it (cross-validation), at each of five sizes
that double; smaller training sets are parts of larger ones.

No single law is right for learning curves, and a fit without a band is worth little (Viering and Loog, The Shape of
Learning Curves, 2021). So four laws are fitted to each of many bootstrap resamples of the scored rows and of the
repetitions (Mahmood et al., How Much More Data Do I Need?, CVPR 2022, table 1), and the band is taken over all of
them. Nothing is extrapolated beyond four times the measured rows.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from kamerton.core.contracts import Metric
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import msg
from kamerton.core.outcomes import Growth, Measure, PowerLaw, Reach
from kamerton.core.pieces import HERE, Done, Workers, WorkItem, Workload
from kamerton.core.records import Example, Prediction, RunEvent
from kamerton.statistics.linear_probe import head_answers

SIZES = 5
FOLDS = 5
REPEATS = 3
FARTHEST = 4
"""Multiple of the largest measured size up to which scores are estimated."""
LEAST = 10
"""Rows of the smallest size."""
RESAMPLES = 500
POINTS = 40
"""Of the line that is drawn."""
STEEPNESS = np.logspace(-1.5, 0.3, 24)
"""Exponents of the power law that are tried: 0.03 to 2."""
SCALES = np.logspace(-2, 3, 24)
"""Of the other laws, relative to the largest measured size."""


@dataclass(frozen=True)
class Counted:
    """What the heads of each size answered, as the metric's sufficient statistics."""

    sizes: np.ndarray
    """`[sizes]`: training rows, ascending."""
    statistics: np.ndarray
    """`[sizes, repeats, rows, k]` float64."""


def choose_sizes(rows: int, target: int, place: str) -> np.ndarray:
    """Double five times up to the rows that cross-validation leaves for training: `[sizes]`.

    Raises:
        DataError: there are too few rows, or the target is too far away.
    """
    largest = rows * (FOLDS - 1) // FOLDS - 1
    sizes = largest // 2 ** np.arange(SIZES)[::-1]
    if sizes[0] < LEAST:
        least = LEAST * 2 ** (SIZES - 1) * FOLDS // (FOLDS - 1) + 2
        few = "{rows} {rows:row is|rows are} too few for a curve of {sizes} sizes: it takes {least}"
        remedy = msg("collect more rows first; a run shows how good these are")
        raise DataError(Fault(msg(few, rows=rows, sizes=SIZES, least=least), place, remedy))
    if target > FARTHEST * largest:
        far = "{target} rows are more than {times} times the {largest} that can be measured"
        remedy = msg("ask for at most {most}; collect them, and ask again", most=FARTHEST * largest)
        raise DataError(Fault(msg(far, target=target, times=FARTHEST, largest=largest), "--target", remedy))
    return sizes


@dataclass(frozen=True)
class Heads:
    """What the heads of all folds share."""

    features: np.ndarray
    """`[rows, dimensions]`, each row of unit length."""
    golds: np.ndarray
    sizes: np.ndarray
    seed: int


@dataclass(frozen=True)
class Fold:
    """A fold of a repetition: the rows to train on, and those to answer."""

    repeat: int
    number: int
    pool: np.ndarray
    held: np.ndarray


def count_heads(
    features: np.ndarray,
    examples: Sequence[Example],
    alike: Sequence[int],
    metric: Metric,
    sizes: np.ndarray,
    seed: int,
    workers: Workers = HERE,
) -> Iterator[Counted | float]:
    """Score heads on frozen features over folds, sizes and repetitions.

    Args:
        features: `[rows, dimensions]`, each row of unit length.
        examples: the rows; their gold answers are classes.
        alike: a number for each row; near-duplicates have the same and are never on both sides.
        metric: counts the answers.
        sizes: training rows to measure at.
        seed: of folds and subsets.
        workers: fit and ask the heads of each fold.

    Yields:
        The share done, from 0 to 1, and last the counts.
    """
    golds = np.array([example.gold for example in examples])
    answers = np.empty((SIZES, REPEATS, len(golds)), golds.dtype)
    folds = [
        Fold(repeat, number, pool, held)
        for repeat in range(REPEATS)
        for number, (pool, held) in enumerate(_splitter(seed + repeat).split(features, golds, alike))
    ]
    work = Workload(partial(Heads, features, golds, sizes, seed), answer_fold)
    pieces = [WorkItem(msg("fold {number}", number=number), fold) for number, fold in enumerate(folds, 1)]
    for done, item in enumerate(workers.carry_out(work, pieces), 1):
        if isinstance(item, Done):
            answers[:, item.given.repeat, item.given.held] = item.value
            yield done / len(folds)
    counts = [
        [
            metric.statistics(golds.tolist(), [Prediction(i, text) for i, text in enumerate(row.tolist())])
            for row in size
        ]
        for size in answers
    ]
    yield Counted(sizes, np.array(counts))


def _splitter(seed: int) -> StratifiedGroupKFold:
    return StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)


def answer_fold(heads: Heads, fold: Fold) -> Generator[RunEvent, None, np.ndarray]:
    """Return the answers of a head of each size to the rows of a fold: `[sizes, held]`."""
    order = np.random.default_rng([heads.seed, fold.repeat, fold.number]).permutation(fold.pool)
    yield from ()
    answers = [head_answers(heads.features, heads.golds, order[:size], fold.held) for size in heads.sizes]
    return np.array(answers)


def grow(
    counted: Counted, name: str, metric: Metric, *, rows: int, target: int, confidence: float, seed: int
) -> Growth:
    """Fit the laws to resamples of the counts and evaluate them."""
    scores = _resampled(counted, metric, seed)
    errors, central = 1 - scores, 1 - metric.value(counted.statistics.sum(axis=(1, 2)))
    largest = int(counted.sizes[-1])
    x, weights = counted.sizes / largest, 1 / np.maximum(errors.var(axis=0), 1e-8)
    at = np.geomspace(counted.sizes[0], max(target, rows), POINTS).round().astype(int)
    points = np.array(sorted({*at.tolist(), rows, target}))
    curves = 1 - np.concatenate([_extend(law, x, weights, errors, points / largest) for law in LAWS])
    middle = 1 - np.mean([_extend(law, x, weights, central[None], points / largest)[0] for law in LAWS], axis=0)
    [shape], [factor], [rest] = _fit(_power(x), weights, central[None])
    steepness = float(STEEPNESS[shape])
    place = {int(point): index for index, point in enumerate(points)}
    tails = 100 * np.array([(1 - confidence) / 2, (1 + confidence) / 2])

    def measure(value: float, draws: np.ndarray) -> Measure:
        low, high = np.percentile(draws, tails)
        return Measure(float(value), float(min(low, value)), float(max(high, value)))

    line = tuple(Reach(n, measure(middle[i], curves[:, i])) for n, i in place.items())
    here, there = place[rows], place[target]
    return Growth(
        metric=name,
        confidence=confidence,
        measured=tuple(Reach(int(n), measure(1 - central[i], scores[:, i])) for i, n in enumerate(counted.sizes)),
        line=line,
        now=line[here],
        target=line[there],
        gain=measure(middle[there] - middle[here], curves[:, there] - curves[:, here]),
        law=PowerLaw(float(factor * largest**steepness), steepness, float(rest)),
    )


def _resampled(counted: Counted, metric: Metric, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    sizes, repeats, rows, _ = counted.statistics.shape
    scores = np.empty((RESAMPLES, sizes))
    for draw in range(RESAMPLES):
        times = np.bincount(random.integers(repeats, size=repeats), minlength=repeats)
        weights = np.bincount(random.integers(rows, size=rows), minlength=rows)
        summed = np.einsum("srnk,r,n->sk", counted.statistics, times, weights, optimize=True)
        scores[draw] = metric.value(summed)
    return scores


def _power(x: np.ndarray) -> np.ndarray:
    return x[:, None] ** -STEEPNESS


Law = Callable[[np.ndarray], np.ndarray]
LAWS: tuple[Law, ...] = (
    _power,
    lambda x: -np.log(x[:, None] + 1 / SCALES),
    lambda x: 1 - 2 / np.pi * np.arctan(SCALES * x[:, None]),
    lambda x: 1 - SCALES * x[:, None] / np.sqrt(1 + (SCALES * x[:, None]) ** 2),
)
"""Shapes that fall with the rows, `[rows, shapes]`; an error is a multiple of one and a rest, neither negative."""


def _extend(law: Law, x: np.ndarray, weights: np.ndarray, errors: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Fit a law to each row of errors at the sizes `x` and evaluate it at `points`: `[draws, points]`."""
    best, factor, rest = _fit(law(x), weights, errors)
    return np.clip(factor[:, None] * law(points)[:, best].T + rest[:, None], 0, None)


def _fit(shapes: np.ndarray, weights: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve the weighted least squares of `factor * shape + rest` for each draw and shape.

    Args:
        shapes: `[sizes, shapes]`.
        weights: `[sizes]`.
        errors: `[draws, sizes]`.

    Returns:
        The index of each draw's best shape, its factor and its rest: `[draws]` each.
    """
    share = weights / weights.sum()
    centered = shapes - share @ shapes
    means = (errors @ share)[:, None]
    spread = share @ centered**2
    factor = np.maximum(0, (errors * share) @ centered / np.maximum(spread, 1e-12))
    rest = means - factor * (share @ shapes)
    through = (errors * share) @ shapes / (share @ shapes**2)  # where the rest would be negative, it is nothing
    factor, rest = np.where(rest < 0, np.maximum(0, through), factor), np.maximum(0, rest)
    off = errors[:, :, None] - factor[:, None, :] * shapes - rest[:, None, :]
    best = np.einsum("s,dsk->dk", share, off**2).argmin(axis=1)
    rows = np.arange(len(errors))
    return best, factor[rows, best], rest[rows, best]
