"""What training saw of each row: sums over its visits, kept at almost no cost, whole over any stop.

Dataset cartography (Swayamdipta et al., EMNLP 2020): the mean of the right answer's probability over the epochs
says how easy a row is, its spread how much the model wavers. Easy rows teach little more, ambiguous ones
teach the most, and among the hard ones stand most wrong labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kamerton.core.records import RowDynamics

SURE = 0.5
"""Above this probability the right answer beats all others together."""


@dataclass(frozen=True)
class Dynamics:
    """Sums over the visits of each row."""

    sums: Tensor
    """`[rows, 4]` float64: visits, sum of probabilities, sum of their squares, visits that were sure."""

    @classmethod
    def of(cls, rows: int) -> Dynamics:
        """Begin with nothing seen."""
        return cls(torch.zeros(rows, 4, dtype=torch.float64))

    def add(self, rows: Sequence[int], losses: Tensor, counts: Sequence[int]) -> None:
        """Take account of one visit each.

        Args:
            rows: which rows.
            losses: `[rows]`, summed over what each teaches.
            counts: how much each teaches; nothing is noted of a row that teaches nothing.
        """
        taught = torch.tensor(counts, dtype=torch.float64)
        probability = torch.exp(-losses.detach().double().cpu() / taught.clamp(min=1))
        seen = (taught > 0).double()
        visits = torch.stack((seen, probability * seen, probability**2 * seen, (probability > SURE) * seen), dim=1)
        self.sums.index_add_(0, torch.tensor(rows), visits)

    def of_rows(self, ids: Sequence[int]) -> list[RowDynamics]:
        """Draw up what was seen of each row, under the ids of the examples; rows never visited are left out.

        Rows that were trained on in several copies have the sums of all of them.
        """
        order = {id: place for place, id in enumerate(dict.fromkeys(ids))}
        sums = torch.zeros(len(order), 4, dtype=torch.float64)
        sums.index_add_(0, torch.tensor([order[id] for id in ids], dtype=torch.int64), self.sums)
        return [_drawn(id, *sums[place].tolist()) for id, place in order.items() if sums[place, 0] > 0]


def _drawn(id: int, visits: float, total: float, squares: float, sure: float) -> RowDynamics:
    mean = total / visits
    return RowDynamics(id, round(visits), mean, max(0.0, squares / visits - mean**2) ** 0.5, sure / visits)
