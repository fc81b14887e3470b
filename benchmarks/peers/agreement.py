"""Whether two sides did the same work: a figure counts only if they did."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from protocol import Result
from rounds import OURS, Round
from workloads import Peer, Workload

CLOSE = 1e-4
"""Largest difference of a loss, as a share of the larger of it and the mean loss."""
ACCURACY = 0.01
"""Largest difference of the accuracy on the test rows: two rows of two hundred."""
ANSWERS = 0.97
"""Least share of equal answers: near-ties are decided by rounding."""
PARTS = 4
"""Into how many parts the course of the losses is cut."""


@dataclass(frozen=True)
class Agreement:
    """Whether two sides agree, and by how much, in words."""

    reached: bool
    words: str


def agreement(workload: Workload, rounds: Sequence[Round], peer: Peer) -> Agreement:
    """Compare a peer's results with ours by the workload's rule."""
    pairs = [(one.results[peer.script], one.results[OURS]) for one in rounds]
    if peer.another_way:
        theirs, own = (statistics.mean(one.test_accuracy or 0.0 for one in side) for side in zip(*pairs, strict=True))
        return Agreement(True, f"accuracy on the test rows {own:.3f} against {theirs:.3f}")
    match workload.rule:
        case "same losses":
            return same_losses(pairs)
        case "same answers":
            return same_answers(pairs)
        case "within noise":
            other = workload.reference or peer.script
            return within_noise([(one.seed, one.results[other], one.results[OURS]) for one in rounds])


def same_losses(pairs: Sequence[tuple[Result, Result]]) -> Agreement:
    """See that every loss of training, validation and test is the same but for rounding, and so is the accuracy."""
    worst = 0.0
    for peer, ours in pairs:
        if len(peer.losses) != len(ours.losses) or len(peer.validation_losses) != len(ours.validation_losses):
            return Agreement(False, f"{len(peer.losses)} updates against {len(ours.losses)}")
        theirs = [*peer.losses, *peer.validation_losses, peer.test_loss]
        own = [*ours.losses, *ours.validation_losses, ours.test_loss]
        typical = statistics.mean(theirs)
        worst = max(worst, *(abs(a - b) / max(abs(a), typical) for a, b in zip(theirs, own, strict=True)))
        apart = abs((peer.test_accuracy or 0.0) - (ours.test_accuracy or 0.0))
        if apart > ACCURACY:
            return Agreement(False, f"accuracy on the test rows differs by {apart:.3f}")
    return Agreement(worst <= CLOSE, f"losses differ by {worst:.0e} at most")


def same_answers(pairs: Sequence[tuple[Result, Result]]) -> Agreement:
    """See that nearly all answers are equal, and the loss of the true ones where it was measured."""
    least, worst = 1.0, 0.0
    for peer, ours in pairs:
        equal = sum(a.strip() == b.strip() for a, b in zip(peer.answers, ours.answers, strict=True))
        least = min(least, equal / max(1, len(ours.answers)))
        worst = max(worst, abs(peer.test_loss - ours.test_loss) / max(peer.test_loss, 1e-12))
    measured = any(peer.test_loss for peer, _ in pairs)
    words = f"{least:.0%} of the answers are equal" + (f", the losses differ by {worst:.0e}" if measured else "")
    return Agreement(least >= ANSWERS and worst <= CLOSE, words)


def within_noise(runs: Sequence[tuple[int, Result, Result]]) -> Agreement:
    """See that the course of the losses differs on average by less than it does from seed to seed.

    The course is cut into parts. In each, the mean difference of the two sides over the seeds must be at most the
    other side's standard deviation over the seeds.
    """
    by_seed = defaultdict(list)
    for seed, other, ours in runs:
        by_seed[seed].append((course(other.losses), course(ours.losses)))
    if len(by_seed) < 2:
        return Agreement(False, "one seed alone has no noise to compare with")
    sides = [[[statistics.mean(part) for part in zip(*one, strict=True)] for one in zip(*several, strict=True)]
             for several in by_seed.values()]  # fmt: skip
    worst = 0.0
    for part in range(PARTS):
        noise = statistics.stdev(other[part] for other, _ in sides)
        apart = abs(statistics.mean(ours[part] - other[part] for other, ours in sides))
        worst = max(worst, apart / max(noise, 1e-12))
    return Agreement(worst <= 1, f"losses differ by {worst:.2f} of the noise of {len(by_seed)} seeds")


def course(losses: Sequence[float]) -> list[float]:
    """Cut losses into parts of equal length, and give the mean of each."""
    size = len(losses) / PARTS
    parts = [losses[int(i * size) : max(int(i * size) + 1, int((i + 1) * size))] for i in range(PARTS)]
    return [statistics.mean(part) for part in parts]
