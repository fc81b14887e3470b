"""What simple contenders share: what is read of a text, and the clock they answer under."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kamerton.core.outcomes import Answers, ContenderKind
from kamerton.core.records import Example, Prediction

LONGEST = 4_000
"""Characters of a text that are read: the gist, at a bounded cost."""

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


def texts(examples: Sequence[Example]) -> list[str]:
    """Give what is read of each example; never nothing."""
    return [example.text.strip()[:LONGEST] or "∅" for example in examples]
