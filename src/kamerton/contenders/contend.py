"""Let a contender answer, and take the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence

from kamerton.core.outcomes import Answers, ContenderKind
from kamerton.core.records import Example, Prediction, Progress

Predict = Callable[[Sequence[Example]], Sequence[Prediction]]


def answer(
    name: str, kind: ContenderKind, predict: Predict, examples: Sequence[Example], at_once: int
) -> Generator[Progress, None, Answers]:
    """Let a contender answer the test rows, telling how far it is.

    Args:
        name: as the report calls it.
        kind: what sort of contender it is.
        predict: gives its predictions for some rows, in their order.
        examples: the test rows.
        at_once: most rows between two reports of progress.
    """
    began = time.perf_counter()
    size = math.ceil(len(examples) / math.ceil(len(examples) / at_once))
    predictions: list[Prediction] = []
    for start in range(0, len(examples), size):
        yield Progress(name, start, len(examples), "rows")
        predictions += predict(examples[start : start + size])
    yield Progress(name, len(examples), len(examples), "rows")
    return Answers(name, kind, tuple(predictions), time.perf_counter() - began)
