"""Uneven classes evened out in training: by weights in the loss, or by repeating the rows of the rarer ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def class_weights(golds: Sequence[str]) -> list[float]:
    """Weigh each row so that all classes weigh the same together, and the rows 1 on average.

    The weight is rows / (classes * rows of the class) (King and Zeng, Political Analysis 9, 2001; scikit-learn's
    `balanced`).

    >>> class_weights(["a", "a", "a", "b"])
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    counts = Counter(golds)
    return [len(golds) / (len(counts) * counts[gold]) for gold in golds]


def oversampled(golds: Sequence[str], seed: int) -> list[int]:
    """Repeat rows until each class comes as often as the largest; those that come once more are drawn.

    Returns:
        Positions: each row in its order, then the repeats.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, gold in enumerate(golds):
        members[gold].append(position)
    most = max(map(len, members.values()), default=0)
    repeats: list[int] = []
    for number, gold in enumerate(sorted(members)):
        own = members[gold]
        missing = most - len(own)
        drawn = np.random.default_rng([seed, number]).permutation(len(own))[: missing % len(own)]
        repeats += own * (missing // len(own)) + [own[i] for i in sorted(drawn.tolist())]
    return [*range(len(golds)), *repeats]
