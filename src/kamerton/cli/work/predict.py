"""What `kamerton predict` does."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path

from kamerton.data.named import is_file
from kamerton.records import Prediction
from kamerton.run import Run
from kamerton.use import Predictor


def run(path: Path, source: str, adapters: Sequence[Path], json: bool) -> None:
    """Answer a text, a file's rows, or the lines of standard input; of several adapters, each in turn."""
    predictors = [Predictor(Run(path))]
    predictors += [Predictor(Run(other), beside=predictors[0]) for other in adapters]
    for answers in _predictions(predictors, source):
        for predictor, prediction in zip(predictors, answers, strict=True):
            name = str(predictor.run.path) if adapters else ""
            print(_line(prediction, name, predictor) if json else _text(prediction, name), flush=True)


def _line(prediction: Prediction, name: str, predictor: Predictor) -> str:
    named = {"run": name} if name else {}
    values: dict[str, object] = {"id": prediction.id, **named, "prediction": prediction.text, "score": prediction.score}
    if prediction.each is not None:
        values["probabilities"] = dict(zip(predictor.labels, prediction.each, strict=True))
    return json_library.dumps(values, ensure_ascii=False)


def _text(prediction: Prediction, name: str) -> str:
    return f"{name}\t{prediction.text}" if name else prediction.text


def _predictions(predictors: Sequence[Predictor], source: str) -> Iterator[tuple[Prediction, ...]]:
    """Give the answers of all predictors to one row after the other."""
    if source == "-":
        lines = tee(sys.stdin, len(predictors))
        answers = [predictor.predict_lines(mine) for predictor, mine in zip(predictors, lines, strict=True)]
    elif is_file(source):
        answers = [predictor.predict_file(Path(source)) for predictor in predictors]
    else:
        answers = [iter(predictor.predict([source])) for predictor in predictors]
    return zip(*answers, strict=True)
