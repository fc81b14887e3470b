"""How much a word looks like Russian: what tells one Cyrillic encoding from another."""

from __future__ import annotations

import math
from functools import lru_cache

FREQUENCY = {
    "о": 10.97, "е": 8.45, "а": 8.01, "и": 7.35, "н": 6.70, "т": 6.26, "с": 5.47, "р": 4.73, "в": 4.54, "л": 4.40,
    "к": 3.49, "м": 3.21, "д": 2.98, "п": 2.81, "у": 2.62, "я": 2.01, "ы": 1.90, "ь": 1.74, "г": 1.70, "з": 1.65,
    "б": 1.59, "ч": 1.44, "й": 1.21, "х": 0.97, "ж": 0.94, "ш": 0.73, "ю": 0.64, "ц": 0.48, "щ": 0.36, "э": 0.32,
    "ф": 0.26, "ъ": 0.04, "ё": 0.04,
}  # fmt: skip
"""Letters of Russian text in per cent, rounded, as counted in the Russian National Corpus."""
PUNCTUATION = frozenset("«»—–…№“”„‘’§°\xa0")
VOWELS = frozenset("аеёиоуыэюя")
ALTERNATION, CAPITALS, ODD_CAPITAL, FOREIGN = 0.85, -2.0, -3.0, -8.0
"""Log odds: a vowel next to a consonant (in Russian 7 pairs of 10), a word in capitals, a capital after a small letter,
a sign that is not of Russian text."""


@lru_cache(maxsize=1 << 16)
def likeness(word: str) -> float:
    """Score a word as Russian: log frequencies of its letters, and odds for how they follow each other.

    >>> likeness("привет") > likeness("РТЙЧЕФ")
    True
    """
    score = CAPITALS if word.isupper() and len(word) > 1 else 0.0
    for before, sign in zip(" " + word, word, strict=False):
        letter = sign.lower()
        if letter not in FREQUENCY:
            score += FOREIGN / 2 if sign in PUNCTUATION else FOREIGN
            continue
        score += math.log(FREQUENCY[letter] / 100)
        if before.lower() in FREQUENCY and (before.lower() in VOWELS) != (letter in VOWELS):
            score += ALTERNATION
        if sign.isupper() and before.islower():
            score += ODD_CAPITAL
    return score
