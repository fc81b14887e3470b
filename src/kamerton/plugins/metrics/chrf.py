"""chrF: overlap of character n-grams, the first choice for generated text in an inflected language."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import RowCounts

ORDER = 6
RECENT = 4
"""Texts whose n-grams are kept: answers to one row often are the right one, or the same."""
BETA2 = 4.0
"""Recall counts beta = 2 times as much as precision, hence the name chrF2."""


class Chrf(RowCounts):
    """Corpus chrF2 (Popović 2015) as sacrebleu computes it, 0 to 1 instead of 0 to 100; `signature` is sacrebleu's."""

    meaning: ClassVar = msg(
        "How many runs of one to six letters of an answer are in the right one, and the other way round."
    )
    signature: ClassVar = f"nrefs:1|case:mixed|eff:yes|nc:{ORDER}|nw:0|space:no|version:{version('sacrebleu')}"

    width: ClassVar = 3 * ORDER

    def counts(self, gold: str, prediction: Prediction) -> list[float]:
        """Count for each order n-grams of the answer, of the gold one, and shared: 18 numbers.

        Those of the answer count only where the gold one is long enough to have any.
        """
        counts: list[float] = []
        for given, wanted in zip(_ngrams(prediction.text), _ngrams(gold), strict=True):
            counts += [given.total() if wanted else 0, wanted.total(), (given & wanted).total()]
        return counts

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 18]` into scores `[...]`: precision and recall are means over the orders."""
        given, wanted, shared = (totals[..., start::3] for start in range(3))
        used = (given > 0) & (wanted > 0)
        orders = np.maximum(used.sum(axis=-1), 1)
        precision = np.where(used, shared / np.maximum(given, 1), 0).sum(axis=-1) / orders
        recall = np.where(used, shared / np.maximum(wanted, 1), 0).sum(axis=-1) / orders
        weight = BETA2 * precision + recall
        return (1 + BETA2) * precision * recall / np.where(weight > 0, weight, 1.0)


@lru_cache(RECENT)
def _ngrams(text: str) -> Sequence[Counter[str]]:
    """Count the n-grams of each order; the counters are not to be changed."""
    grams: Sequence[Counter[str]] = extract_all_char_ngrams(text, ORDER)
    return grams
