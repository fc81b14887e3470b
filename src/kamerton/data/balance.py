"""Class balancing in training: weights in the loss, or oversampling of the rarer classes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def class_weights(golds: Sequence[str]) -> list[float]:
    """Return a weight for each row: rows / (classes * rows of its class), 1 on average.

    This is `balanced` of scikit-learn (King and Zeng, Political Analysis 9, 2001).

    >>> class_weights(["a", "a", "a", "b"])
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    counts = Counter(golds)
    return [len(golds) / (len(counts) * counts[gold]) for gold in golds]


def oversampled(golds: Sequence[str], seed: int) -> list[int]:
    """Return positions that repeat rows until each class is as frequent as the largest.

    Every row comes first, in order; then the repeats. Rows repeated once more than others of their class are sampled.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, gold in enumerate(golds):
        members[gold].append(position)
    most, positions = max(map(len, members.values()), default=0), [*range(len(golds))]
    for number, gold in enumerate(sorted(members)):
        own = members[gold]
        whole, rest = divmod(most - len(own), len(own))
        drawn = np.random.default_rng([seed, number]).permutation(len(own))[:rest]
        positions += own * whole + [own[i] for i in sorted(drawn.tolist())]
    return positions
