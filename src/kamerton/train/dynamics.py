"""Training dynamics: sums over the visits of each row, which are part of checkpoints.

Dataset cartography (Swayamdipta et al., EMNLP 2020): the mean probability of the right answer over the epochs tells
easy rows from hard ones, its spread finds ambiguous rows. Easy rows teach little more, ambiguous ones teach the most,
and hard ones include most wrong labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kamerton.core.records import RowDynamics

SURE = 0.5
"""Above this probability the right answer is more probable than all others together."""


@dataclass(frozen=True)
class Dynamics:
    """Sums over the visits of each row."""

    sums: Tensor
    """`[rows, 4]` float64: visits, sum of probabilities, sum of their squares, visits that were sure."""

    @classmethod
    def of(cls, rows: int) -> Dynamics:
        """Start without any visit."""
        return cls(torch.zeros(rows, 4, dtype=torch.float64))

    def add(self, rows: Sequence[int], losses: Tensor, counts: Sequence[int]) -> None:
        """Add one visit of each row: its loss, summed over so many supervised positions; one without any is skipped."""
        supervised = torch.tensor(counts, dtype=torch.float64)
        probability = torch.exp(-losses.detach().cpu().double() / supervised.clamp(min=1))
        seen = (supervised > 0).double()
        visits = torch.stack((seen, probability * seen, probability**2 * seen, (probability > SURE) * seen), dim=1)
        self.sums.index_add_(0, torch.tensor(rows), visits)

    def of_rows(self, ids: Sequence[int]) -> list[RowDynamics]:
        """Return the dynamics of each row that was visited, by the ids of the examples; copies of a row are summed."""
        order = {id: place for place, id in enumerate(dict.fromkeys(ids))}
        sums = torch.zeros(len(order), 4, dtype=torch.float64)
        sums.index_add_(0, torch.tensor([order[id] for id in ids], dtype=torch.int64), self.sums)
        return [_dynamics(id, *sums[place].tolist()) for id, place in order.items() if sums[place, 0] > 0]


def _dynamics(id: int, visits: float, total: float, squares: float, sure: float) -> RowDynamics:
    mean = total / visits
    return RowDynamics(id, round(visits), mean, max(0.0, squares / visits - mean**2) ** 0.5, sure / visits)
