"""Blind judging by people: which of two answers is better, with the sides drawn at random."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter

from kamerton.core.errors import DataError, Fault, RunError
from kamerton.core.messages import msg
from kamerton.core.outcomes import Answers, BlindPair, Judged, Judging, Measure
from kamerton.core.readers import read_object
from kamerton.core.records import Example
from kamerton.evaluate.compare import in_order, same_rows, tuned_answers
from kamerton.runs.run import Run
from kamerton.runs.settings import validated
from kamerton.statistics.comparison import mcnemar_p, paired_share_interval
from kamerton.statistics.intervals import wilson_interval
from kamerton.statistics.sequential import log_e_values

SCHEMA = 1


@dataclass(frozen=True)
class Choice:
    """A judge's preference in one pair."""

    id: int
    choice: Literal["left", "right", "tie"]
    seconds: float = 0.0
    """Time it took."""


@dataclass(frozen=True)
class Choices:
    """The choices that one judge saved from the page."""

    schema: Literal[1]
    first: str
    second: str
    seed: int
    identical: int
    choices: tuple[Choice, ...]


def judging_of(runs: Sequence[Run], names: Sequence[str], against: str, *, rows: int, seed: int) -> Judging:
    """Pair the tuned models of two runs, or that of one with another of its contenders.

    Args:
        runs: one or two, finished.
        names: what they are called.
        against: the contender, if there is one run.
        rows: most pairs.
        seed: of rows, order and sides.

    Raises:
        RunError: the two are one run or have other test rows, or the answers are alike.
    """
    if len(runs) > 1:
        examples = same_rows(runs)
        tuned = [
            replace(in_order(tuned_answers(run), examples), name=name) for run, name in zip(runs, names, strict=True)
        ]
        return blind_pairs(tuned[0], tuned[1], examples, rows=rows, seed=seed)
    [run] = runs
    other = next(answers for answers in run.read_answers() if answers.name == against)
    return blind_pairs(tuned_answers(run), other, run.read_split().test, rows=rows, seed=seed)


def blind_pairs(first: Answers, second: Answers, examples: Sequence[Example], *, rows: int, seed: int) -> Judging:
    """Draw rows on which two contenders differ, and the side on which each one's answer stands.

    Raises:
        RunError: the two answer every row alike.
    """
    triples = zip(examples, first.predictions, second.predictions, strict=True)
    differing = [(example, one.text, two.text) for example, one, two in triples if one.text.strip() != two.text.strip()]
    if not differing:
        rule = msg("'{first}' and '{second}' answer every row alike", first=first.name, second=second.name)
        raise RunError(Fault(rule, remedy=msg("judge other runs")))
    order = np.random.default_rng(seed).permutation(len(differing))[:rows]
    pairs = []
    for example, one, two in (differing[i] for i in order):
        left, right = (one, two) if _first_is_left(seed, example.id) else (two, one)
        pairs.append(BlindPair(example.id, example.text, example.gold, left, right))
    return Judging(first.name, second.name, seed, len(examples) - len(differing), tuple(pairs))


def read_choices(path: Path) -> Choices:
    """Read a judge's choices.

    Raises:
        DataError: the file cannot be read, or was not saved by the page.
    """
    remedy = msg("use the file that the page saved")
    try:
        choices = validated(TypeAdapter(Choices), read_object(path, DataError, remedy), path, DataError, remedy)
    except DataError as error:
        if len(error.faults) < len(fields(Choices)):
            raise
        raise DataError(Fault(msg("this is not what the page for judging saves"), str(path), remedy)) from None
    if not choices.choices:
        raise DataError(Fault(msg("no choice was made"), str(path), msg("judge some pairs, and save again")))
    return choices


def judge_choices(judges: Sequence[Choices], confidence: float = 0.95) -> Judged:
    """Evaluate the choices of one judge or more on the same two contenders.

    Raises:
        DataError: they did not judge the same two.
    """
    one = judges[0]
    if any((other.first, other.second) != (one.first, one.second) for other in judges):
        rule = msg(
            "the first file is about '{first}' and '{second}', another one is not", first=one.first, second=one.second
        )
        raise DataError(Fault(rule, remedy=msg("evaluate choices between the same two contenders")))
    votes = Counter[int]()
    for judge in judges:
        votes.update(_votes(judge))
    agreement, kappa = _agreement(judges)
    signs = np.sign(np.array(list(votes.values()), dtype=np.float64))
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    sides = Counter(choice.choice for judge in judges for choice in judge.choices)
    return Judged(
        first=one.first,
        second=one.second,
        judges=len(judges),
        rows=len(votes),
        wins=wins,
        losses=losses,
        ties=len(votes) - wins - losses,
        identical=one.identical,
        preferred=_share(wins, losses, confidence),
        difference=paired_share_interval(wins, losses, len(votes), confidence),
        p_value=mcnemar_p(wins, losses),
        anytime_p=float(min(1.0, np.exp(-log_e_values(signs).max()))),
        left=_share(sides["left"], sides["right"], confidence),
        position_p=mcnemar_p(sides["left"], sides["right"]),
        agreement=agreement,
        kappa=kappa,
    )


def _first_is_left(seed: int, id: int) -> bool:
    """Draw the side of a row, reproducibly from the seed."""
    return hashlib.blake2b(f"{seed} {id}".encode(), digest_size=1).digest()[0] % 2 == 0


def _votes(judge: Choices) -> Mapping[int, int]:
    """Return each row's vote: 1 for the first contender, -1 for the second, 0 for a tie; the last choice counts."""
    ahead = {"left": 1, "right": -1, "tie": 0}
    return {one.id: ahead[one.choice] * (1 if _first_is_left(judge.seed, one.id) else -1) for one in judge.choices}


def _share(count: int, rest: int, confidence: float) -> Measure:
    return wilson_interval(count, count + rest, confidence) if count + rest else Measure(0.5, 0.0, 1.0)


def _agreement(judges: Sequence[Choices]) -> tuple[float | None, float | None]:
    """Compute how often two judges of one row agree, and the mean of Cohen's kappa over pairs whose votes differ."""
    pairs = combinations(map(_votes, judges), 2)
    both = [both for a, b in pairs if (both := [(a[id], b[id]) for id in a if id in b])]
    same = [one == two for votes in both for one, two in votes]
    kappas = [_kappa(votes) for votes in both if len(set(chain(*votes))) > 1]
    return sum(same) / len(same) if same else None, float(np.mean(kappas)) if kappas else None


def _kappa(votes: Sequence[tuple[int, int]]) -> float:
    """Compute Cohen's kappa: agreement beyond what the two would have by chance (Cohen 1960)."""
    shares = [Counter(side) for side in zip(*votes, strict=True)]
    chance = sum(shares[0][vote] * shares[1][vote] for vote in shares[0]) / len(votes) ** 2
    return (sum(one == two for one, two in votes) / len(votes) - chance) / (1 - chance)
