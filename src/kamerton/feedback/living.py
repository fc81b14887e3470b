"""A/B on living traffic: a log of outcomes, judged so that one may look after every line and stop when one likes.

The log is JSON Lines, one outcome a line, in the order in which they came; lines are all of one kind:

    {"winner": "tuned"}                          which of two answers to one request was preferred; "tie" if neither
    {"scores": {"tuned": 0.9, "base": 0.4}}      both answers to one request, scored from 0 to 1
    {"arm": "tuned", "outcome": 1}               one answer to one request, drawn without regard to outcomes, and what
                                                 came of it, from 0 to 1 (or false and true)

The names of the two arms are free; other fields (a time, an id) are passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kamerton.core.errors import DataError, Fault
from kamerton.core.outcomes import Comparison, Standing
from kamerton.evaluate.verdict import stand
from kamerton.statistics.sequential import confidence_sequence, log_e_values, match_arms

TIE = "tie"
OTHER = "the other"
"""The name of an arm that never won."""
MOST_FAULTS = 20
"""Lines that are complained of at once."""


@dataclass(frozen=True)
class Outcome:
    """One line of a log: the arms that it names, and what each got."""

    line: int
    got: Mapping[str, float]


@dataclass(frozen=True)
class Log:
    """A log that was read."""

    paired: bool
    """Whether each line is about both arms; else each is about one."""
    first: str
    second: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class LivingVerdict:
    """What a log shows of two arms: first minus second."""

    first: str
    second: str
    outcomes: int
    pairs: int
    """Differences that the test is made of."""
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    """A confidence sequence: true at every look at once."""
    p_value: float
    """1 over the largest e-value so far: valid at any time."""
    e_value: float
    decision: Literal["first is better", "second is better", "not decided"]
    decided_at: int | None
    """The pair at which it was decided."""
    standing: Standing


def judge_log(path: Path, *, first: str | None = None, margin: float = 0.02, confidence: float = 0.95) -> LivingVerdict:
    """Judge a log of outcomes.

    Args:
        path: JSON Lines as the top of this file has them.
        first: the arm whose gain is asked for; the one that is named first if not given.
        margin: how much worse still counts as not worse.
        confidence: such as 0.95: with no difference, one is ever found with probability 0.05 at most.

    Raises:
        DataError: the file cannot be read, or a line is not an outcome; all such lines, with their numbers.

    """
    return judge_outcomes(read_log(path, first), margin=margin, confidence=confidence)


def judge_outcomes(log: Log, *, margin: float = 0.02, confidence: float = 0.95) -> LivingVerdict:
    """Judge outcomes that were read."""
    differences = _differences(log)
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
        DataError: the file cannot be read, or a line is not an outcome.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(Fault(f"the file cannot be read: {error.strerror}", str(path), "check the path")) from None
    except UnicodeDecodeError as error:
        raise DataError(Fault("a log is UTF-8 text", f"{path} byte {error.start}", "save it as UTF-8")) from None
    reader = _Reader(path)
    outcomes = tuple(reader.read(lines))
    if reader.faults:
        raise DataError(reader.faults[:MOST_FAULTS])
    if first and len(reader.arms) == 2 and first not in reader.arms:
        known = ", ".join(f"'{name}'" for name in reader.arms)
        raise DataError(Fault(f"the log has no arm '{first}'", str(path), f"name one of its arms: {known}"))
    names = list(dict.fromkeys([*([first] if first else []), *reader.arms]))
    if reader.kind == "winner" and len(names) == 1:
        names.append(OTHER)
    if not reader.arms or len(names) != 2:
        known = ", ".join(f"'{name}'" for name in names) or "none"
        rule = f"a comparison takes outcomes of two arms, got {known}"
        raise DataError(Fault(rule, str(path), "log what each of the two arms got"))
    return Log(reader.kind != "arm", names[0], names[1], outcomes)


class _Reader:
    """Reads lines, and gathers what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = ""
        self.arms: dict[str, int] = {}
        """Each arm's name and the line that first names it."""
        self.faults: list[Fault] = []

    def read(self, lines: Sequence[str]) -> Iterator[Outcome]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield Outcome(number, self._got(json.loads(line), number))
            except json.JSONDecodeError as error:
                self._fault(f"this is not JSON: {error.msg}", number, error.colno)
            except ValueError as error:
                self._fault(str(error), number)

    def _got(self, record: Any, number: int) -> Mapping[str, float]:
        kinds = [kind for kind in _KINDS if isinstance(record, dict) and kind in record]
        if len(kinds) != 1:
            raise ValueError(f"an outcome has one of the fields {', '.join(_KINDS)}")
        self.kind = self.kind or kinds[0]
        if kinds[0] != self.kind:
            raise ValueError(f"the lines before have '{self.kind}', this one has '{kinds[0]}'")
        got = _KINDS[self.kind](record)
        for name in got:
            self.arms.setdefault(name, number)
        if len(self.arms) > 2:
            known = list(self.arms)[:2]
            for name in [*self.arms][2:]:
                del self.arms[name]
            raise ValueError(f"a third name beside '{known[0]}' and '{known[1]}'")
        return got

    def _fault(self, rule: str, line: int, column: int | None = None) -> None:
        place = f"{self.path}:{line}" + (f" column {column}" if column else "")
        self.faults.append(Fault(rule, place, 'write {"winner": …}, {"scores": {…}} or {"arm": …, "outcome": …}'))


def _winner(record: Mapping[str, Any]) -> Mapping[str, float]:
    if not isinstance(record["winner"], str) or not record["winner"]:
        raise ValueError(f"'winner' is the name of an arm or '{TIE}', got {record['winner']!r}")
    return {} if record["winner"] == TIE else {record["winner"]: 1.0}


def _scores(record: Mapping[str, Any]) -> Mapping[str, float]:
    scores = record["scores"]
    if not isinstance(scores, dict) or len(scores) != 2:
        raise ValueError("'scores' has the score of each of two arms")
    return {name: _unit(value, f"the score of '{name}'") for name, value in scores.items()}


def _arm(record: Mapping[str, Any]) -> Mapping[str, float]:
    if not isinstance(record["arm"], str) or "outcome" not in record:
        raise ValueError("a line with 'arm' has its name, and an 'outcome'")
    return {record["arm"]: _unit(record["outcome"], "'outcome'")}


def _unit(value: object, what: str) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{what} is a number from 0 to 1, got {value!r}")
    return float(value)


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, float]]] = {
    "winner": _winner,
    "scores": _scores,
    "arm": _arm,
}


def _differences(log: Log) -> np.ndarray:
    if log.paired:
        return np.array([one.got.get(log.first, 0.0) - one.got.get(log.second, 0.0) for one in log.outcomes])
    in_first = [log.first in one.got for one in log.outcomes]
    return match_arms(in_first, [value for one in log.outcomes for value in one.got.values()])
