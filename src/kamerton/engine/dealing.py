"""Engines that all processes hold: rows are dealt out to them, and the results gathered in the rows' order."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from torch import nn

from kamerton.core.records import Encoded
from kamerton.kernels.processes import dealt, gathered, has_others, rank, together, world_size

Compute = Callable[..., tuple[Sequence[Any], ...]]


class AnswerSettings(NamedTuple):
    """The settings of an engine's answers, and its adapter: what it may be asked with beside the rows."""

    max_tokens: int
    max_new_tokens: int
    tokens_per_pass: int
    temperature: float
    seed: int
    adapter: str


class Askable(Protocol):
    """An engine, as far as it matters here."""

    @property
    def model(self) -> nn.Module:
        """The model."""

    @property
    def number(self) -> int:
        """Its number in all processes."""

    @property
    def limits(self) -> AnswerSettings:
        """The settings of its answers."""


Numbered = TypeVar("Numbered", bound=Askable)

ONLY_HERE = 0
"""The number of an engine that other processes do not hold, or not with the same weights."""

_held: dict[int, Any] = {}
"""On the other ranks, by number; with the settings that they were last asked with."""
_let_go: list[int] = []
"""On rank 0, the numbers of those that it does not hold any more."""
_numbers = count(1)


def new_number() -> int:
    """Return a number for an engine that all processes will hold."""
    return next(_numbers)


def hold(engine: Numbered, number: int) -> Numbered:
    """Return an engine by which `dealt_out` asks all ranks, each of which calls this with the same number."""
    numbered = _numbered(engine, number)
    if rank():
        _held[number] = numbered
    else:
        weakref.finalize(engine.model, _let_go.append, number)
    return numbered


def alone(engine: Numbered) -> Numbered:
    """Return an engine that asks no other process: its weights are about to be set here."""
    return _numbered(engine, ONLY_HERE)


def _numbered(engine: Numbered, number: int) -> Numbered:
    return cast(Numbered, replace(cast(Any, engine), number=number))


def dealt_out(compute: Compute, engine: Askable, *columns: Sequence[Encoded]) -> tuple[list[Any], ...]:
    """Return the results for each column of rows, in its order, computed by all processes that hold the engine.

    Args:
        compute: a method of engines, which takes the columns and returns the results of each.
        engine: that of this process.
        columns: the rows; those of a column are dealt by their tokens.
    """
    alone = (
        engine.number == ONLY_HERE or engine.limits.temperature or sum(map(len, columns)) < 2
    )  # one generator draws all tokens
    if alone or (world_size() == 1 and not has_others()):
        return tuple(map(list, compute(engine, *columns)))
    gone, _let_go[:] = tuple(_let_go), ()
    with together(_take_part, compute, engine.number, engine.limits, columns, gone):
        return _share(compute, engine, columns)


def _take_part(
    compute: Compute,
    number: int,
    limits: AnswerSettings,
    columns: Sequence[Sequence[Encoded]],
    gone: Sequence[int],
) -> None:
    """Compute this rank's share of what rank 0 is asked."""
    for other in gone:
        _held.pop(other, None)
    if _held[number].limits != limits:
        _held[number] = replace(_held[number], **limits._asdict())
    _share(compute, _held[number], columns)


def _share(compute: Compute, engine: Askable, columns: Sequence[Sequence[Encoded]]) -> tuple[list[Any], ...]:
    hands = [dealt([len(row.tokens) + len(row.targets) for row in rows], world_size()) for rows in columns]
    own = [[rows[i] for i in hand[rank()]] for rows, hand in zip(columns, hands, strict=True)]
    parts = gathered(compute(engine, *own))
    whole = []
    for column, rows in enumerate(columns):
        results: list[Any] = [None] * len(rows)
        for hand, part in zip(hands[column], parts, strict=True):
            for place, result in zip(hand, part[column], strict=True):
                results[place] = result
        whole.append(results)
    return tuple(whole)
