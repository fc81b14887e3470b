"""How contenders answer: at once or in parts, with the time they take."""

import math
import time
from collections.abc import Callable, Generator, Sequence

from kamerton.core.messages import Message
from kamerton.core.outcomes import Answers, ContenderKind
from kamerton.core.records import ExampleSeq, Prediction, Progress

Predict = Callable[[ExampleSeq], Sequence[Prediction]]


def timed(title: Message, kind: ContenderKind, predict: Predict, examples: ExampleSeq) -> Answers:
    """Answer all examples at once."""
    began = time.perf_counter()
    predictions = tuple(predict(examples))
    return Answers(str(title), kind, predictions, time.perf_counter() - began, title)


def answer(
    title: Message, kind: ContenderKind, predict: Predict, examples: ExampleSeq, at_once: int
) -> Generator[Progress, None, Answers]:
    """Answer examples in parts, and yield the progress."""
    began, rows = time.perf_counter(), len(examples)
    size = math.ceil(rows / math.ceil(rows / at_once))
    predictions: list[Prediction] = []
    for start in range(0, rows, size):
        yield Progress(title, start, rows, "rows")
        predictions += predict(examples[start : start + size])
    yield Progress(title, rows, rows, "rows")
    return Answers(str(title), kind, tuple(predictions), time.perf_counter() - began, title)
