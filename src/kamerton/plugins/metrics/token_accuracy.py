"""Token accuracy: the share of words with the right tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean
from kamerton.plugins.metrics._spans import as_long
from kamerton.text.tags import read_list


class TokenAccuracy:
    """Share of all words whose tag is the gold one; where most are outside, it flatters."""

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, words with the right tag, and words."""
        rows = []
        for gold, prediction in zip(golds, predictions, strict=True):
            wanted = read_list(gold)
            given = as_long(read_list(prediction.text), len(wanted))
            rows.append((sum(one == other for one, other in zip(wanted, given, strict=True)), len(wanted)))
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 2]` into shares `[...]`."""
        return mean(totals)
