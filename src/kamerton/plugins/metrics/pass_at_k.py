"""pass@k: how often one of k written programs passes its tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction


class PassAtK:
    """Mean over rows of the estimated chance that one of k samples passes (Chen et al. 2021, section 2.1).

    Rows whose tests were not run are not counted; NaN if none were.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, the chance and 1."""
        rows = [(0.0, 0.0) if p.passed is None else (p.passed, 1.0) for p in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed chances `[..., 2]` into means `[...]`."""
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]
