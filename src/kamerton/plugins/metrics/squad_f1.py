"""SQuAD F1: how many words of an answer are right, beside the nearest of the answers that are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._rowwise import mean, scores_and_ones
from kamerton.plugins.metrics._signature import signature
from kamerton.plugins.metrics.token_f1 import word_f1
from kamerton.text.tags import read_list


class SquadF1:
    """Mean over rows of the best F1 of bags of words with any accepted answer (Rajpurkar et al. 2016, 2018).

    Gold answers are a JSON list of texts; an empty text is accepted where there is no answer.
    """

    higher_is_better: ClassVar = True
    unit_interval: ClassVar = True
    per_row_binary: ClassVar = False
    signature: ClassVar = signature("squad-f1", "refs:best", "tok:answer_words", "norm:bare_answer")

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Score each row: `[rows, 2]`, F1 and 1."""
        return scores_and_ones(
            max((word_f1(one, p.text) for one in read_list(gold)), default=float(not p.text))
            for gold, p in zip(golds, predictions, strict=True)
        )

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed scores `[..., 2]` into means `[...]`."""
        return mean(totals)
