"""Feedback AUC: how surely a model finds answers that people wanted likelier than others."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.demands import Demanding
from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.plugins.metrics.feedback_margin import ALIKE

BINS = 200
"""Steps of the order in which a resample is counted; fewer rows are counted exactly."""


class FeedbackAuc(UsualMetric, Demanding):
    """Share of the pairs of a wanted and an unwanted answer of which the wanted one is likelier per token.

    It is the area under the ROC curve, the statistic of Mann and Whitney (1947); of equal ones half counts. The
    answers of a pair belong to different requests as a rule: by chance it is 0.5. Rows whose answer was not judged
    are not counted. Where there is only one kind no pair says anything: it is undefined, and 0.5 in a resample.
    """

    meaning: ClassVar = msg(
        "How often an answer that people wanted is likelier to the model than one that they did not want."
    )
    lack: ClassVar = ALIKE

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row at its place in the order: `[rows, 2 * 200]`, wanted ones and others."""
        scores = np.array([p.score if p.wanted is not None and p.score is not None else np.nan for p in predictions])
        known = ~np.isnan(scores)
        ranked = np.unique(scores[known])
        places = np.searchsorted(ranked, scores[known]) * BINS // max(BINS, len(ranked))
        counts = np.zeros((len(predictions), 2, BINS))
        kinds = np.array([0 if p.wanted else 1 for p in predictions], dtype=int)
        counts[np.flatnonzero(known), kinds[known], places] = 1.0
        return counts.reshape(len(predictions), 2 * BINS)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 400]` into areas `[...]`."""
        wanted, others = np.split(totals, 2, axis=-1)
        below = np.cumsum(others, axis=-1) - others / 2
        pairs = np.asarray(wanted.sum(axis=-1) * others.sum(axis=-1))
        return np.where(pairs > 0, (wanted * below).sum(axis=-1) / np.maximum(pairs, 1), 0.5)
