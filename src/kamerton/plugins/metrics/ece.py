"""Expected calibration error: how far the shares of right answers lie from the probabilities given."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric

BINS = 15
"""As Guo et al. 2017 have it, but of equal mass (Nguyen and O'Connor 2015): no bin is nearly empty."""


class Ece(UsualMetric):
    """Mean distance of probability and share of right answers over 15 bins of equally many rows.

    With fewer than about 500 rows chance alone makes it large, and its interval holds that too: read it beside what
    a model with true probabilities would show (`kamerton.evaluate.calibration.chance_error`). Answers of the same
    probability share a bin. The bins are those of all rows, also in a resample. Rows without a probability are not
    counted; NaN if there is none with one.
    """

    meaning: ClassVar = msg(
        "How far on average the probability of an answer is from the share of such answers that are right."
    )
    higher_is_better: ClassVar = False

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row in its bin: `[rows, 3 * 15]`, three blocks: rows, probabilities, right answers."""
        known = np.array([p.score is not None for p in predictions], dtype=bool)
        scores = np.array([p.score or 0.0 for p in predictions])
        right = np.array([p.text == gold for gold, p in zip(golds, predictions, strict=True)], dtype=np.float64)
        member = np.zeros((len(scores), BINS))
        member[known, bins(scores[known])] = 1.0
        return np.concatenate([member, member * scores[:, None], member * right[:, None]], axis=1)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 45]` into errors `[...]`."""
        rows, scores, right = np.split(totals, 3, axis=-1)
        with np.errstate(invalid="ignore"):
            return np.abs(scores - right).sum(axis=-1) / rows.sum(axis=-1)


def bins(scores: np.ndarray) -> np.ndarray:
    """Assign probabilities `[rows]` to 15 bins of about equally many by rank, equal ones to the same: `[rows]`."""
    below = np.searchsorted(np.sort(scores), scores, side="left")
    return below * BINS // max(1, len(scores))
