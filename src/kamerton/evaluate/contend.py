"""Let a contender answer, and take the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kamerton.records import Answers, ContenderKind, Prediction


def answer(name: str, kind: ContenderKind, predict: Callable[[], Sequence[Prediction]]) -> Answers:
    """Run a contender over the test rows.

    Args:
        name: as the report calls it.
        kind: what sort of contender it is.
        predict: gives its predictions in the test set's order.
    """
    began = time.perf_counter()
    predictions = tuple(predict())
    return Answers(name, kind, predictions, time.perf_counter() - began)
