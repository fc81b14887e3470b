"""BLEU: overlap of word n-grams, for translations that are compared with published ones."""

from collections import Counter
from importlib.metadata import version
from typing import ClassVar

import numpy as np
import regex
from sacrebleu.metrics.helpers import extract_all_word_ngrams
from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

from kamerton.core.messages import msg
from kamerton.core.records import Prediction
from kamerton.plugins.metrics._base import RowCounts
from kamerton.text.words import UNSPACED

ORDER = 4
TOKENIZER = TokenizerV14International()
LETTER = regex.compile(rf"(?V1)([{UNSPACED}]\p{{M}}*)")


class Bleu(RowCounts):
    """Corpus BLEU (Papineni et al. 2002) as sacrebleu computes it, 0 to 1 instead of 0 to 100.

    `signature` is sacrebleu's, and adds at its end that letters of scripts without spaces are separated before it
    tokenizes. `tok:intl` splits off the punctuation of any script, « » included. Only orders that the texts are
    long enough for count (`eff:yes`), which changes nothing where one text has four words.
    """

    meaning: ClassVar = msg("How many runs of one to four words of a translation are in the right one, too.")
    signature: ClassVar = (
        f"nrefs:1|case:mixed|eff:yes|tok:intl|smooth:exp|version:{version('sacrebleu')}|unspaced:letters"
    )

    width: ClassVar = 2 + 2 * ORDER

    def counts(self, gold: str, prediction: Prediction) -> list[float]:
        """Count words of the answer and of the gold one, then shared and given n-grams: 10 numbers."""
        (wanted, gold_words), (given, given_words) = _ngrams(gold), _ngrams(prediction.text)
        shared, total = [0] * ORDER, [max(0, given_words - order) for order in range(ORDER)]
        for ngram, count in (wanted & given).items():
            shared[len(ngram) - 1] += count
        return [given_words, gold_words, *shared, *total]

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


def _ngrams(text: str) -> tuple[Counter[tuple[str, ...]], int]:
    """Count n-grams and words, with spaces around letters that stand for words or parts of them, as in `zh`."""
    ngrams, words = extract_all_word_ngrams(TOKENIZER(LETTER.sub(r" \1 ", text)), 1, ORDER)
    return ngrams, words
