"""Rows that are like no others."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.words import words

LEAST_ROWS = 50
LOOKED_AT = 50_000
"""Most rows that are compared."""
LEAST_WORDS = 4
STRANGE = 0.8
"""Share of a text's words that no other row has, from which on the text may be off-topic."""
FAR = 6.0
"""Robust standard deviations from the median (1.4826 times the median deviation; Leys et al. 2013)."""
SPREAD = 0.02
"""Least median deviation: where all rows are alike, small differences do not count."""
EMBEDDED = 3_000
"""Most rows that are embedded."""
NEIGHBOURS = 5
LONGEST = 2_000


class Outliers(Check):
    """Find off-topic and meaningless rows: by their words, and by an encoder's embeddings if one is chosen."""

    def find(self, data: Data) -> Finding | None:
        """Compare each text with all others."""
        places = np.linspace(0, len(data.examples) - 1, min(LOOKED_AT, len(data.examples))).astype(int).tolist()
        filled = [example for at in places if (example := data.examples[at]).text.strip()]
        if len(filled) < LEAST_ROWS:
            return None
        strange = strangeness([example.text for example in filled])
        far = _far(strange) & (strange >= STRANGE)
        if data.context.embed is not None and len(filled) <= EMBEDDED:
            far |= _far(loneliness(data.context.embed(filled)))
        rows = [filled[i] for i in np.flatnonzero(far)]
        title = msg("{rows} {rows:row is|rows are} like no others ({share})")
        remedy = msg("check whether they belong here: remove what is off-topic or no text at all")
        return data.about("outliers", rows, title, remedy, many=0.02)


def strangeness(texts: Sequence[str]) -> np.ndarray:
    """Return the share of each text's words that no other text has, `[texts]`; 0 for texts of a few words."""
    bags = [set(words(text[:LONGEST])) for text in texts]
    rows = Counter(word for bag in bags for word in bag)
    return np.array([sum(rows[word] == 1 for word in bag) / len(bag) if len(bag) >= LEAST_WORDS else 0 for bag in bags])


def loneliness(embedded: np.ndarray) -> np.ndarray:
    """Return the distance of each row of `[rows, hidden]` to its nearest others: 1 minus their mean cosine."""
    centred = embedded - embedded.mean(axis=0)
    centred = centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9)
    cosines = centred @ centred.T
    np.fill_diagonal(cosines, -1.0)
    nearest = np.partition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    return np.asarray(1.0 - nearest.mean(axis=1))


def _far(scores: np.ndarray) -> np.ndarray:
    middle = np.median(scores)
    spread = max(SPREAD, float(np.median(np.abs(scores - middle))))
    return np.asarray(scores > middle + FAR * 1.4826 * spread)
