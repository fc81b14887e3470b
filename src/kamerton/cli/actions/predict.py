"""What `kamerton predict` does."""

import json as json_library
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path

from kamerton.cli.output import json_for_output, open_run, warn, warn_cut
from kamerton.cli.streams import standard_input
from kamerton.core.messages import msg
from kamerton.core.records import Place
from kamerton.data.encoding import lines_of
from kamerton.data.named import names_data
from kamerton.deliver.predictor import Predictor, Served
from kamerton.i18n.language import Language

TEXT = Place("input", 1)
LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""What ends a line for one reader or another: `str.splitlines` knows them all."""


def run(path: Path, source: str, adapters: Sequence[Path], device: str | None, json: bool, _: Language) -> None:
    """Answer a text, a file's rows, or the lines of standard input; of several adapters, each in turn."""
    predictors = [Predictor(open_run(path, device))]
    predictors += [Predictor(open_run(other), beside=predictors[0]) for other in adapters]
    cut: dict[str, int] = {}
    for answers in _answers(predictors, source):
        for predictor, served in zip(predictors, answers, strict=True):
            name = str(predictor.run.path) if adapters else ""
            text = one_line(served.prediction.text)
            print(_line(served, name, predictor) if json else f"{name}\t{text}" if name else text, flush=True)
        if served.unusable:
            reason = served.unusable
            warn(msg("{place}: {reason}; its answer is empty", place=str(served.place), reason=reason))
        if lost := max(one.prediction.cut for one in answers):
            cut[str(served.place)] = lost
    warn_cut(cut, min(predictor.setup.max_tokens for predictor in predictors))


def _line(served: Served, name: str, predictor: Predictor) -> str:
    prediction, named = served.prediction, {"run": name} if name else {}
    values: dict[str, object] = {"id": prediction.id, **named, "prediction": prediction.text, "score": prediction.score}
    if prediction.each is not None:
        values["probabilities"] = dict(zip(predictor.labels, prediction.each, strict=True))
    if not prediction.text and prediction.loss is not None:  # nothing is written: the likelihood is the answer
        values["loss"] = prediction.loss
    if prediction.cut:
        values["cut"] = prediction.cut
    if served.unusable:
        values["unusable"] = str(served.unusable)
    return json_for_output(values)


def one_line(answer: str) -> str:
    r"""Write an answer on one line: as it is, or as a JSON string if it holds line ends.

    What would be taken for a JSON string is written as one, too, so that every answer can be had back.

    >>> print(one_line("plain"), one_line("two\nlines"), one_line('"quoted"'))
    plain "two\nlines" "\"quoted\""
    """
    if len(answer.splitlines()) < 2 and answer[-1:] not in LINE_ENDS and not _is_json_string(answer):
        return answer
    written = json_library.dumps(answer, ensure_ascii=False)
    return "".join(f"\\u{ord(sign):04x}" if sign in LINE_ENDS else sign for sign in written)


def _is_json_string(answer: str) -> bool:
    if not answer.startswith('"'):
        return False
    try:
        return isinstance(json_library.loads(answer), str)
    except ValueError:
        return False


def _answers(predictors: Sequence[Predictor], source: str) -> Iterator[tuple[Served, ...]]:
    """Yield the answers of all predictors to one row after the other."""
    if source == "-":
        lines = tee(lines_of(standard_input(), "input", warn), len(predictors))
        answers = [predictor.predict_lines(mine) for predictor, mine in zip(predictors, lines, strict=True)]
    elif names_data(source):
        answers = [predictor.predict_file(Path(source)) for predictor in predictors]
    else:
        answers = [iter([Served(TEXT, predictor.predict([source])[0])]) for predictor in predictors]
    return zip(*answers, strict=True)
