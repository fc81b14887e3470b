"""Engines that all processes hold: rows are dealt out to them, and the results gathered in the rows' order."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from kamerton.core.records import Encoded
from kamerton.kernels.processes import dealt, gathered, has_others, rank, together, world_size

if TYPE_CHECKING:
    from kamerton.engine.engine import TorchEngine

Compute = Callable[..., tuple[Sequence[Any], ...]]

ONLY_HERE = 0
"""The number of an engine that other processes do not hold, or not with the same weights."""

_held: dict[int, TorchEngine] = {}
"""On the other ranks, by number; with the settings that they were last asked with."""
_let_go: list[int] = []
"""On rank 0, the numbers of those that it does not hold any more."""
_numbers = count(1)


def new_number() -> int:
    """Return a number for an engine that all processes will hold."""
    return next(_numbers)


def hold(engine: TorchEngine, number: int) -> TorchEngine:
    """Return an engine by which `dealt_out` asks all ranks, each of which calls this with the same number."""
    numbered = replace(engine, number=number)
    if rank():
        _held[number] = numbered
    else:
        weakref.finalize(engine.model, _let_go.append, number)
    return numbered


def alone(engine: TorchEngine) -> TorchEngine:
    """Return an engine that asks no other process: its weights are about to be set here."""
    return replace(engine, number=ONLY_HERE)


def dealt_out(compute: Compute, engine: TorchEngine, *columns: Sequence[Encoded]) -> tuple[list[Any], ...]:
    """Return the results for each column of rows, in its order, computed by all processes that hold the engine.

    Args:
        compute: a method of engines, which takes the columns and returns the results of each.
        engine: that of this process.
        columns: the rows; those of a column are dealt by their tokens.
    """
    alone = (
        engine.number == ONLY_HERE or engine.temperature or sum(map(len, columns)) < 2
    )  # one generator draws all tokens
    if alone or (world_size() == 1 and not has_others()):
        return tuple(map(list, compute(engine, *columns)))
    gone, _let_go[:] = tuple(_let_go), ()
    with together(_take_part, compute, engine.number, dict(engine.limits), columns, gone):
        return _share(compute, engine, columns)


def _take_part(
    compute: Compute,
    number: int,
    limits: Mapping[str, Any],
    columns: Sequence[Sequence[Encoded]],
    gone: Sequence[int],
) -> None:
    """Compute this rank's share of what rank 0 is asked."""
    for other in gone:
        _held.pop(other, None)
    if _held[number].limits != limits:
        _held[number] = replace(_held[number], **limits)
    _share(compute, _held[number], columns)


def _share(compute: Compute, engine: TorchEngine, columns: Sequence[Sequence[Encoded]]) -> tuple[list[Any], ...]:
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
