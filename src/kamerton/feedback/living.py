"""Anytime-valid A/B test on production logs: the result holds after every line, and one may stop at any time.

The log is JSON Lines, one outcome per line, in order; all lines are of one kind:

    {"winner": "tuned"}                          which of two answers to one request was preferred; "tie" if neither
    {"scores": {"tuned": 0.9, "base": 0.4}}      both answers to one request, scored from 0 to 1
    {"arm": "tuned", "outcome": 1}               one answer to one request, assigned independently of outcomes, and its
                                                 outcome, from 0 to 1 (or false and true)

The names of the two arms are free; other fields (a time, an id) are ignored.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kamerton.core.errors import DataError, Fault, Unusable
from kamerton.core.messages import Joined, Wording, msg
from kamerton.core.outcomes import Comparison, LivingVerdict
from kamerton.core.readers import opened, parse_json
from kamerton.evaluate.verdict import stand
from kamerton.runs.settings import SHOWN
from kamerton.statistics.sequential import confidence_sequence, log_e_values, match_arms
from kamerton.text.safe import one_line

TIE = "tie"
OTHER = "the other"
"""The name of an arm that never won."""
MOST_FAULTS = 20
"""Most faulty lines that are reported at once."""
LONGEST_LINE = 1 << 20
"""Bytes."""
WRITE = msg("write one of {shapes}", shapes='{"winner": …}, {"scores": {…}}, {"arm": …, "outcome": …}')


@dataclass(frozen=True)
class Log:
    """A parsed log."""

    paired: bool
    """Whether each line holds both arms; else one."""
    first: str
    second: str
    outcomes: tuple[Mapping[str, float], ...]
    """By line: the outcome of each arm that it names."""

    @property
    def differences(self) -> np.ndarray:
        """The first arm's outcomes minus the second's."""
        if self.paired:
            return np.array([one.get(self.first, 0.0) - one.get(self.second, 0.0) for one in self.outcomes])
        in_first = [self.first in one for one in self.outcomes]
        return match_arms(in_first, [value for one in self.outcomes for value in one.values()])


def judge_log(path: Path, *, first: str | None = None, margin: float = 0.02, confidence: float = 0.95) -> LivingVerdict:
    """Judge a log of outcomes.

    Args:
        path: JSON Lines as the top of this file has them.
        first: the arm whose gain is reported; the first in the log if not given.
        margin: how much worse still counts as not worse.
        confidence: such as 0.95: without a difference, one is ever found with probability 0.05 at most.

    Raises:
        DataError: the file cannot be read, or lines are not outcomes; each with its number.
    """
    log = read_log(path, first)
    differences = log.differences
    logs = log_e_values(differences)
    reached = np.flatnonzero(logs >= -math.log(1 - confidence))
    at = int(reached[0]) if len(reached) else None
    ahead = None if at is None else float(differences[: at + 1].sum()) > 0
    interval = confidence_sequence(differences, confidence)
    p_value = min(1.0, math.exp(-float(logs.max())))
    gain = Comparison(interval.value, interval.low, interval.high, p_value, 0.0)
    return LivingVerdict(
        first=log.first,
        second=log.second,
        outcomes=len(log.outcomes),
        pairs=len(differences),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        e_value=math.exp(min(700.0, float(logs[-1]))),
        decision="not decided" if ahead is None else "first is better" if ahead else "second is better",
        decided_at=None if at is None else at + 1,
        standing=stand(gain, margin),
    )


def read_log(path: Path, first: str | None = None) -> Log:
    """Read a log.

    Raises:
        DataError: the file cannot be read, or lines are not outcomes.
    """
    reader = _LogReader(path)
    with opened(path, DataError) as file:
        outcomes = tuple(reader.read(iter(partial(file.readline, LONGEST_LINE), b"")))
    if reader.faults:
        raise DataError(reader.faults)
    if first and len(reader.arms) == 2 and first not in reader.arms:
        remedy = msg("name one of its arms: {names}", names=_quoted(reader.arms))
        raise DataError(Fault(msg("the log has no arm '{name}'", name=first), str(path), remedy))
    names = list(dict.fromkeys([*([first] if first else []), *reader.arms]))
    if reader.kind == "winner" and len(names) == 1:
        names.append(OTHER)
    if not reader.arms or len(names) != 2:
        given = _quoted(names) if names else msg("none")
        rule = msg("a comparison needs outcomes of two arms, got {names}", names=given)
        raise DataError(Fault(rule, str(path), msg("log the outcomes of both arms")))
    return Log(reader.kind != "arm", names[0], names[1], outcomes)


def _quoted(names: Iterable[str]) -> Joined:
    return Joined([msg("'{name}'", name=name) for name in names], ", ")


class _LogReader:
    """Parses lines, and collects their faults."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = ""
        self.arms: list[str] = []
        self.faults: list[Fault] = []

    def read(self, lines: Iterator[bytes]) -> Iterator[Mapping[str, float]]:
        """Yield the outcome of each line by arm; keep the faults of the others."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if len(self.faults) == MOST_FAULTS:
                return
            try:
                yield self._got(parse_json(line, self.path, DataError, WRITE, number))
            except DataError as error:
                self.faults += error.faults
            except Unusable as error:
                self.faults.append(Fault(error.message, f"{self.path}:{number}", WRITE))

    def _got(self, record: Any) -> Mapping[str, float]:
        kinds = [kind for kind in _KINDS if isinstance(record, dict) and kind in record]
        if len(kinds) != 1:
            raise Unusable(msg("an outcome has one of the fields {fields}", fields=", ".join(_KINDS)))
        self.kind = self.kind or kinds[0]
        if kinds[0] != self.kind:
            rule = msg("the lines before have '{field}', this one has '{other}'", field=self.kind, other=kinds[0])
            raise Unusable(rule)
        got = _KINDS[self.kind](record)
        arms = list(dict.fromkeys([*self.arms, *got]))
        self.arms = arms[:2]
        if len(arms) > 2:
            raise Unusable(msg("a third name beside '{first}' and '{second}'", first=arms[0], second=arms[1]))
        return got


def _winner(record: Mapping[str, Any]) -> Mapping[str, float]:
    if not isinstance(record["winner"], str) or not record["winner"]:
        raise Unusable(
            msg("'winner' is the name of an arm or 'tie', got {value}", value=one_line(repr(record["winner"]), SHOWN))
        )
    return {} if record["winner"] == TIE else {record["winner"]: 1.0}


def _scores(record: Mapping[str, Any]) -> Mapping[str, float]:
    scores = record["scores"]
    if not isinstance(scores, dict) or len(scores) != 2:
        raise Unusable(msg("'scores' has the score of each of two arms"))
    return {name: _unit(value, msg("the score of '{name}'", name=name)) for name, value in scores.items()}


def _arm(record: Mapping[str, Any]) -> Mapping[str, float]:
    if not isinstance(record["arm"], str) or "outcome" not in record:
        raise Unusable(msg("a line with 'arm' has its name, and an 'outcome'"))
    return {record["arm"]: _unit(record["outcome"], "'outcome'")}


def _told(value: object) -> str:
    return one_line(repr(value), SHOWN)


def _unit(value: object, what: Wording) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unusable(
            msg("{what} is a number from 0 to 1, got {value}", what=what, value=one_line(repr(value), SHOWN))
        )
    return float(value)


_KINDS = {"winner": _winner, "scores": _scores, "arm": _arm}
