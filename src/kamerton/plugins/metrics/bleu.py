"""BLEU: overlap of word n-grams, for translations that are compared with published ones."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np
import regex
from sacrebleu.metrics.helpers import extract_all_word_ngrams
from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import UsualMetric
from kamerton.text.words import UNSPACED

ORDER = 4
LETTER = regex.compile(rf"(?V1)([{UNSPACED}]\p{{M}}*)")


class Bleu(UsualMetric):
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it, 0 to 1 instead of 0 to 100.

    `signature` is sacrebleu's, and adds at its end that letters of scripts without spaces are separated before it
    tokenizes. `tok:intl` splits off the punctuation of any script, « » included. Only orders that the texts are
    long enough for count (`eff:yes`), which changes nothing where one text has four words.
    """

    signature: ClassVar = (
        f"nrefs:1|case:mixed|eff:yes|tok:intl|smooth:exp|version:{version('sacrebleu')}|unspaced:letters"
    )

    def statistics(self, golds: Sequence[str], predictions: Sequence[Prediction]) -> np.ndarray:
        """Count each row: `[rows, 10]`, words of the answer and of the gold one, then shared and given n-grams."""
        tokenize = TokenizerV14International()
        rows = [
            _counts(tokenize(_spaced(gold)), tokenize(_spaced(p.text)))
            for gold, p in zip(golds, predictions, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * ORDER)

    def value(self, totals: np.ndarray) -> np.ndarray:
        """Turn summed counts `[..., 10]` into scores `[...]`: brevity penalty times geometric mean of precisions."""
        given_words, gold_words = totals[..., 0], totals[..., 1]
        shared, given = totals[..., 2 : 2 + ORDER], totals[..., 2 + ORDER :]
        used, missed = given > 0, (given > 0) & (shared == 0)
        smooth = np.where(missed, 2.0 ** -np.cumsum(missed, axis=-1), 1.0)
        precisions = np.where(missed, smooth, shared) / np.where(used, given, 1.0)
        logs = np.log(np.where(used, precisions, 1.0)).sum(axis=-1) / np.maximum(used.sum(axis=-1), 1)
        brevity = np.minimum(0.0, 1.0 - gold_words / np.maximum(given_words, 1e-300))
        return np.where(shared.sum(axis=-1) > 0, np.exp(logs + brevity), 0.0)


def _spaced(text: str) -> str:
    """Insert spaces around letters that stand for words or parts of them, as sacrebleu's `zh` does."""
    spaced: str = LETTER.sub(r" \1 ", text)
    return spaced


def _counts(gold: str, text: str) -> list[int]:
    wanted, gold_words = extract_all_word_ngrams(gold, 1, ORDER)
    given, given_words = extract_all_word_ngrams(text, 1, ORDER)
    shared, total = [0] * ORDER, [max(0, given_words - order) for order in range(ORDER)]
    for ngram, count in (wanted & given).items():
        shared[len(ngram) - 1] += count
    return [given_words, gold_words, *shared, *total]
