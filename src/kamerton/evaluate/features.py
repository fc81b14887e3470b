"""What simple contenders share: TF-IDF of words and letters, and the clock they answer under."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from kamerton.outcomes import Answers, ContenderKind
from kamerton.records import Example, Prediction
from kamerton.words import fold, words

LONGEST = 4_000
"""Characters of a text that are read: the gist, at a bounded cost."""
WORD_FEATURES, LETTER_FEATURES = 20_000, 30_000

Answerer = Callable[[Sequence[Example]], list[Prediction]]
"""What has learnt from the training examples and answers others."""


def timed(name: str, kind: ContenderKind, answer: Answerer, test: Sequence[Example]) -> Answers:
    """Time the answering alone, as for every other contender."""
    start = time.perf_counter()
    predictions = tuple(answer(test))
    return Answers(name, kind, predictions, time.perf_counter() - start)


def always(text: str) -> Answerer:
    """Answer the same to everything."""
    return lambda test: [Prediction(example.id, text) for example in test]


def text_features() -> FeatureUnion:
    """Weigh words and pairs of them, and pieces of 3 to 5 letters, which bear inflection and misspelling."""
    of_words = TfidfVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=WORD_FEATURES,
    )
    of_letters = TfidfVectorizer(
        preprocessor=fold,
        analyzer="char_wb",
        ngram_range=(3, 5),
        sublinear_tf=True,
        max_features=LETTER_FEATURES,
    )
    return FeatureUnion([("words", of_words), ("letters", of_letters)])


def texts(examples: Sequence[Example]) -> list[str]:
    """Give what is read of each example; never nothing."""
    return [example.text.strip()[:LONGEST] or "∅" for example in examples]
