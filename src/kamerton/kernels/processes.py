"""Processes that work on one run, as torchrun starts them: the only module that asks torch.distributed.

Rank 0 alone carries the run from stage to stage. The other ranks wait for what it sends: a function of a module with
its arguments, which all ranks then run at the same time (`together`). Without torchrun there is one process, of rank 0,
and everything here does nothing.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from kamerton.core.errors import Fault, KamertonError, RunError, TrainingError
from kamerton.core.messages import msg
from kamerton.core.ranks import LOCAL_RANK, LOCAL_SIZE, launched_processes

T = TypeVar("T")
Task = tuple[Callable[..., object], tuple[object, ...]]
PATIENCE = timedelta(days=30)
"""How long ranks wait for rank 0, which may ask a server, or train classic baselines; one that dies ends the wait."""
TOGETHER = timedelta(hours=2)
"""How long a rank waits for the others while all compute: a validation of the slowest is shorter."""
GONE = ("closed by peer", "reset by peer", "Broken pipe", "timed out", "Timed out", "remote process exited")
"""What torch says of a rank that does not answer."""


class RankError(RunError):
    """One rank alone cannot go on: no other can, either."""


class LostRankError(RankError):
    """Another rank has ended."""


class TogetherError(KamertonError):
    """What all ranks raise at once, though only one may have had the reason."""


class StopTogether(KeyboardInterrupt):
    """A stop that all ranks have agreed on."""


ALIKE = (TrainingError, TogetherError, StopTogether)
"""What all ranks raise at the same place of a step, if they raise it at all; after anything else they cannot go on."""

_control: list[dist.ProcessGroup] = []
"""The group by which rank 0 sends; empty once a rank is lost, since others may have got a part of what was sent."""
_here = [1]
_inside = False


def world_size() -> int:
    """Return how many processes carry out the present step: all of them within `together`, else one."""
    return dist.get_world_size() if _inside else 1


def rank() -> int:
    """Return the number of this process among those of the present step."""
    return dist.get_rank() if _inside else 0


def launched() -> tuple[int, int]:
    """Return how many processes torchrun has started, and how many of them on this machine."""
    return (dist.get_world_size(), _here[0]) if _control else (1, 1)


def has_others() -> bool:
    """Return whether other processes wait for what this one, rank 0, sends."""
    return bool(_control) and not _inside


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started, if it did; on rank 0, let the others end when the block has ended."""
    if launched_processes() == 1:
        yield
        return
    device = torch.accelerator.current_accelerator(check_available=True)
    backend = "gloo"
    if device is not None:
        torch.accelerator.set_device_index(int(os.environ[LOCAL_RANK]))
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
    dist.init_process_group(backend, timeout=TOGETHER)
    _here[0] = int(os.environ.get(LOCAL_SIZE, "1"))
    _control.append(dist.new_group(backend="gloo", timeout=PATIENCE))
    try:
        yield
    finally:
        if _control and not _inside:  # else the others compute, or one is lost: they end when this process has gone
            if not dist.get_rank():
                _sent(None)
            dist.destroy_process_group()
        _control.clear()


def follow() -> None:
    """Carry out what rank 0 sends, until it has nothing more. What fails for all ranks alike, rank 0 tells.

    Rank 0 decides when to stop, so the signals that ask for it, which all processes get, are ignored here.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        while (task := _sent(None)) is not None:
            function, arguments = task
            with suppress(*ALIKE), _step():
                function(*arguments)
    except LostRankError:  # the other one has told why
        raise SystemExit(1) from None


@contextmanager
def together(function: Callable[..., object], *arguments: object) -> Iterator[None]:
    """Run a function of a module on the other ranks while this one, rank 0, runs the block, which must match it.

    Whatever both of them exchange has to be exchanged in the same order.
    """
    if not has_others():
        yield
        return
    _sent((function, arguments))
    with _step():
        yield


@contextmanager
def _step() -> Iterator[None]:
    """While active, all ranks are together; they stay so after an exception that only one may have."""
    global _inside
    _inside = True
    try:
        yield
    except ALIKE:
        _inside = False
        raise
    _inside = False


def agree(failure: KamertonError | None) -> None:
    """Raise the failure of any rank on all of them, as what all have alike.

    Raises:
        TogetherError: one failed; it carries the faults of the first.
    """
    for number, one in enumerate(gathered(failure)):
        if one is not None:
            name = msg("rank {number}", number=number)
            raise TogetherError([one_of if not number else replace(one_of, place=name) for one_of in one.faults])


def _sent(task: Task | None) -> Task | None:
    """Send a task from rank 0 to all ranks, and return it there; None says that nothing more will come."""
    box = [task]
    with lost_rank_told():
        dist.broadcast_object_list(box, src=0, group=_control[0])
    return box[0]


def shared(value: T) -> T:
    """Return rank 0's value on all ranks."""
    if world_size() == 1:
        return value
    box = [value]
    with lost_rank_told():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """Return the values of all ranks, in their order, on all of them."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    with lost_rank_told():
        dist.all_gather_object(box, value)
    return box


def summed(numbers: Tensor) -> Tensor:
    """Return the sum over all ranks of a tensor in the host's memory."""
    if world_size() > 1:
        numbers = numbers.clone()
        with lost_rank_told():
            dist.all_reduce(numbers)
    return numbers


def dealt(costs: Sequence[float], ways: int) -> list[list[int]]:
    """Deal items to so many ranks so that their costs are about equal: the dearest first, each to whom has least.

    A rank gets its items in their order.

    >>> dealt([9, 1, 5, 3], 2)
    [[0], [1, 2, 3]]
    """
    hands: list[list[int]] = [[] for _ in range(ways)]
    loads = [0.0] * ways
    for item in sorted(range(len(costs)), key=lambda one: -costs[one]):
        poorest = min(range(ways), key=lambda one: (loads[one], len(hands[one])))
        hands[poorest].append(item)
        loads[poorest] += costs[item]
    return [sorted(hand) for hand in hands]


@contextmanager
def lost_rank_told() -> Iterator[None]:
    """Raise an error with the remedy if another rank ends while this one waits for it.

    Raises:
        LostRankError: it did.
    """
    try:
        yield
    except RuntimeError as error:  # dist.DistError is one, and gloo raises the plain one
        if not any(words in str(error) for words in GONE):
            raise
        _control.clear()
        rule = "another of the {count} processes has ended, and rank {rank} waits for it"
        told = msg(rule, count=dist.get_world_size(), rank=dist.get_rank())
        remedy = msg("see what that one said; the same launch of `kamerton resume RUN` goes on")
        raise LostRankError(Fault(told, remedy=remedy)) from error
