"""SQuAD exact match: the share of answers that say the same as any of the answers that are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature
from kamerton.text.tags import read_list
from kamerton.text.words import bare_answer


class SquadExactMatch:
    """Share of answers that equal an accepted one once both are reduced by `words.bare_answer` (a JSON list of texts).

    An empty text is accepted where there is no answer.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = True
    signature: ClassVar = signature("squad-exact-match", "refs:best", "norm:bare_answer")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, equal and 1."""
        return scores_and_ones(
            float(any(bare_answer(p.text, one) == bare_answer(one, one) for one in read_list(gold) or [""]))
            for gold, p in zip(golds, predictions, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 2]` into shares `[...]`."""
        return mean(totals)
