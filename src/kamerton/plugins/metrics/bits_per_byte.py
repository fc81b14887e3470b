"""Bits per byte: how well a model foresees text, whatever its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction


class BitsPerByte:
    """All rows' losses in bits over the UTF-8 bytes of their gold texts (Gao et al. 2020, section 3.1).

    Comparable between models with different tokenizers, on the same text. Rows without a loss are not counted; NaN
    if there is none with one.
    """

    higher_is_better: ClassVar = False
    unit_interval: ClassVar = False
    per_row_binary: ClassVar = False
    signature: ClassVar = ""

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 2]`, bits and bytes."""
        rows = [
            (0.0, 0.0) if p.loss is None else (p.loss / math.log(2), float(len(gold.encode("utf-8", "surrogatepass"))))
            for gold, p in zip(golds, predictions, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed bits and bytes `[..., 2]` into bits per byte `[...]`."""
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]
