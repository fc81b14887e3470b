"""What `kamerton predict` does."""

from __future__ import annotations

import json as json_library
import sys
from collections.abc import Iterable
from pathlib import Path

from kamerton.records import Prediction
from kamerton.run import Run
from kamerton.use import Predictor


def run(path: Path, source: str, json: bool) -> None:
    """Answer a text, a file's rows, or the lines of standard input."""
    predictor = Predictor(Run(path))
    for prediction in _predictions(predictor, source):
        if json:
            line = {"id": prediction.id, "prediction": prediction.text, "score": prediction.score}
            print(json_library.dumps(line, ensure_ascii=False), flush=True)
        else:
            print(prediction.text, flush=True)


def _predictions(predictor: Predictor, source: str) -> Iterable[Prediction]:
    if source == "-":
        return predictor.predict_lines(sys.stdin)
    if _is_file(source):
        return predictor.predict_file(Path(source))
    return predictor.predict([source])


def _is_file(source: str) -> bool:
    try:
        return Path(source).is_file()
    except OSError:  # longer than a file's name can be: it is a text
        return False
