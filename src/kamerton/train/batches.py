"""The rows of each update: a pure function of the seed, so that training can resume at any step."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class UpdatePlan:
    """The order of all rows over all epochs, split into updates; computed from the step, not stored."""

    rows: int
    batch_size: int
    epochs: float
    seed: int

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one epoch; the last one may be smaller."""
        return math.ceil(self.rows / self.batch_size)

    @property
    def updates(self) -> int:
        """All updates of the run."""
        return max(1, math.ceil(self.epochs * self.updates_per_epoch))

    def rows_of(self, update: int) -> list[int]:
        """Return the row indices of an update, counted from 0."""
        epoch, position = divmod(update, self.updates_per_epoch)
        order = _permutation(self.rows, self.seed, epoch)
        return order[position * self.batch_size : (position + 1) * self.batch_size]

    def epoch_after(self, updates: int) -> float:
        """Return how many epochs so many updates are."""
        return updates / self.updates_per_epoch

    def epoch_ended(self, updates: int) -> int | None:
        """Return the number of the epoch that ends with the last of so many updates; None if none does."""
        epoch, rest = divmod(updates, self.updates_per_epoch)
        return epoch if epoch and not rest else None

    def validates_after(self, updates: int, per_epoch: int) -> bool:
        """Return whether validation is due: `per_epoch` times in each epoch, evenly spaced, and at the end."""
        before, now = (math.floor(n * per_epoch / self.updates_per_epoch) for n in (updates - 1, updates))
        return now > before or updates == self.updates


@lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> list[int]:
    return np.random.default_rng([seed, epoch]).permutation(rows).tolist()
