"""What the course of training says of itself, in words, with the flag that mends it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kamerton.core.outcomes import Answers, Diagnosis
from kamerton.core.records import Event, Example, Started, Stepped, Stopped, Validated

HEALTHY = "healthy"
FEW_UPDATES = 30
"""Fewer updates leave most of a warm-up and a decay unseen; fine-tuning usually needs hundreds."""
OVERFIT_RISE = 0.05
"""Share by which the validation loss must have risen from its best; less is noise of small validation sets."""
DIVERGED = 0.2
"""Share by which the training loss must have risen from its start; less is a loss that stays where it was."""
SOLVED = 0.05
"""Nats: below this, a loss has nothing left to fall, and its ups and downs mean nothing."""
LEARNT = 0.05
"""Share by which the training loss must fall before anything counts as learnt."""
STILL_FALLING = 0.05
"""Share by which the validation loss fell in the last quarter of training that had room for more."""
SPIKE_DEVIATIONS, SPIKE_WINDOW = 6, 20
"""A spike is this many standard deviations above the mean of this many losses before it."""
STILL = 1e-6
"""Relative change of the weights below which nothing was trained: a float32 does not resolve much less."""
NO_GRADIENT = 1e-8
DIED = 1e-4
"""Share of its first norm below which a gradient has died away, where the loss still has something to fall."""
EXPLODED = 100.0
"""Growth of the gradients' norm that no healthy fine-tuning shows: over its course it stays within three times."""
GREW, ALL_CLIPPED = 10.0, 0.95
"""Growth that is called an explosion as well where nearly all updates were clipped."""
SUPPORT = 3
"""Rows of a class from which on its never being predicted is no chance."""


def diagnose(events: Sequence[Event], clip_norm: float = 1.0) -> list[Diagnosis]:
    """Read the events of training; the worst first, and `healthy` if there is nothing to say; empty if none trained.

    Losses that are not finite explain all else, so nothing follows them.

    Args:
        events: of one training.
        clip_norm: the largest norm of a gradient that was let through.
    """
    course = _Course(tuple(events), clip_norm)
    if not course.steps:
        return []
    if fatal := _not_finite(course):
        return [fatal]
    checks = (_exploded, _diverged, _died, _still, _hardly_learnt, _few_updates, _overfits, _still_learning, _spikes)
    found = [diagnosis for check in checks if (diagnosis := check(course))]
    return found or [_healthy(course)]


def diagnose_rate(tried: Mapping[float, float], rate: float) -> list[Diagnosis]:
    """Say that the best rate of a probe is the lowest or the highest that was tried, so that a better may lie beyond.

    Args:
        tried: validation loss by rate, infinite where training broke down; empty if there was no probe.
        rate: what was trained with: the best one, or lower, for a long run.
    """
    rates = sorted(tried)
    if len(rates) < 2 or (best := min(rates, key=tried.__getitem__)) not in (rates[0], rates[-1]):
        return []
    edge, beyond, inner = ("lowest", 1 / 3, rates[1]) if best == rates[0] else ("highest", 3.0, rates[-2])
    evidence = (
        f"{best:.2g} is the best of {len(rates)} rates and the {edge} that was tried: "
        f"validation loss {tried[best]:.3g} there, {tried[inner]:.3g} at {inner:.2g}"
    )
    return [Diagnosis("the rate is at the edge of its probe", evidence, _rate(min(1.0, rate * beyond)))]


def diagnose_answers(examples: Sequence[Example], answers: Answers) -> list[Diagnosis]:
    """Find classes that a contender never answers, for tasks whose gold answers are classes.

    Args:
        examples: the test rows; or others, if only the names of what is found are looked at.
        answers: one contender's predictions for them, in their order.
    """
    golds = Counter(example.gold for example in examples)
    given = Counter(prediction.text for prediction in answers.predictions)
    if len(golds) > 1 and len(given) == 1:
        evidence = f"'{next(iter(given))}' is the answer to all {len(examples):,} test rows of {len(golds)} classes"
        remedy = "train longer or faster: raise --epochs or --learning-rate; `kamerton audit` checks the labels"
        return [Diagnosis("one answer to everything", evidence, remedy)]
    never = [label for label, rows in golds.most_common() if rows >= SUPPORT and label not in given]
    if not never:
        return []
    named = ", ".join(f"'{label}' ({golds[label]} test rows)" for label in never)
    remedy = "add training rows of it, or let the classes count the same: --set evaluate.metric=macro-f1"
    return [Diagnosis("a class is never predicted", f"never predicted: {named}", remedy)]


@dataclass(frozen=True)
class _Course:
    """The events of training, sorted and summed up."""

    events: tuple[Event, ...]
    clip_norm: float

    @cached_property
    def steps(self) -> list[Stepped]:
        return [event for event in self.events if isinstance(event, Stepped)]

    @cached_property
    def validations(self) -> list[Validated]:
        return [event for event in self.events if isinstance(event, Validated)]

    @cached_property
    def stopped(self) -> Stopped | None:
        return next((event for event in reversed(self.events) if isinstance(event, Stopped)), None)

    @cached_property
    def losses(self) -> np.ndarray:
        return np.array([step.loss for step in self.steps])

    @property
    def window(self) -> int:
        """Updates to average over, since one update's loss is mostly its rows' luck."""
        return max(1, min(SPIKE_WINDOW, len(self.steps) // 5))

    @property
    def first_loss(self) -> float:
        return float(self.losses[: self.window].mean())

    @property
    def last_loss(self) -> float:
        return float(self.losses[-self.window :].mean())

    @cached_property
    def norms(self) -> np.ndarray:
        """Of the gradients, before clipping."""
        return np.array([step.gradient_norm for step in self.steps])

    @property
    def first_norm(self) -> float:
        return float(np.median(self.norms[: self.window]))

    @property
    def last_norm(self) -> float:
        return float(np.median(self.norms[-self.window :]))

    @property
    def learning_rate(self) -> float:
        return max(step.learning_rate for step in self.steps)

    @property
    def epochs(self) -> float:
        """Planned passes over the data."""
        planned = [event.steps for event in self.events if isinstance(event, Started)]
        last = self.steps[-1]
        return last.epoch * max([last.step, *planned]) / last.step

    @property
    def finished(self) -> bool:
        """Whether all planned updates were made."""
        return self.steps[-1].step >= max([event.steps for event in self.events if isinstance(event, Started)] or [0])


def _not_finite(course: _Course) -> Diagnosis | None:
    bad = [step.step for step in course.steps if not math.isfinite(step.loss + step.gradient_norm)]
    bad += [validation.step for validation in course.validations if not math.isfinite(validation.loss)]
    if not bad:
        return None
    evidence = f"loss or gradient was not finite at update {min(bad)}, at a learning rate of {course.learning_rate:g}"
    return Diagnosis("not finite", evidence, _rate(course.learning_rate / 10))


def _exploded(course: _Course) -> Diagnosis | None:
    grown = course.last_norm / max(course.first_norm, NO_GRADIENT)
    clipped = float((course.norms > course.clip_norm).mean())
    if course.last_norm <= course.clip_norm or grown < (GREW if clipped >= ALL_CLIPPED else EXPLODED):
        return None
    evidence = (
        f"the gradients' norm grew from {course.first_norm:.3g} to {course.last_norm:.3g}; "
        f"{clipped:.0%} of the updates were clipped to {course.clip_norm:g}"
    )
    remedy = f"{_rate(course.learning_rate / 3)} or a longer --set train.warmup=0.1"
    return Diagnosis("exploding gradients", evidence, remedy)


def _died(course: _Course) -> Diagnosis | None:
    if course.last_norm >= DIED * course.first_norm or course.last_loss <= SOLVED or course.first_norm < NO_GRADIENT:
        return None
    evidence = (
        f"the gradients' norm fell from {course.first_norm:.1e} to {course.last_norm:.1e} "
        f"while the training loss is still {course.last_loss:.3g}"
    )
    remedy = f"{_rate(course.learning_rate / 3)} or --set model.precision=fp32"
    return Diagnosis("dead gradients", evidence, remedy)


def _diverged(course: _Course) -> Diagnosis | None:
    if course.last_loss < max(SOLVED, course.first_loss * (1 + DIVERGED)):
        return None
    evidence = f"training loss rose from {course.first_loss:.3g} to {course.last_loss:.3g}"
    return Diagnosis("divergence", evidence, _rate(course.learning_rate / 3))


def _still(course: _Course) -> Diagnosis | None:
    gradient = float(np.median(course.norms))
    change = course.stopped.weight_change if course.stopped else math.inf
    if change >= STILL and gradient >= NO_GRADIENT:
        return None
    moved = f"the trained weights changed by {change:.1e} of their size, " if course.stopped else ""
    return Diagnosis(
        "the weights do not move", f"{moved}median gradient norm {gradient:.1e}", _rate(course.learning_rate * 10)
    )


def _hardly_learnt(course: _Course) -> Diagnosis | None:
    low, high = max(SOLVED, (1 - LEARNT) * course.first_loss), (1 + DIVERGED) * course.first_loss
    if not low < course.last_loss < high:
        return None
    evidence = f"training loss went only from {course.first_loss:.3g} to {course.last_loss:.3g}"
    return Diagnosis("underfitting", evidence, f"{_rate(course.learning_rate * 3)} or {_epochs(course.epochs * 2)}")


def _few_updates(course: _Course) -> Diagnosis | None:
    updates = course.steps[-1].step
    if updates >= FEW_UPDATES:
        return None
    longer = _epochs(math.ceil(course.epochs * FEW_UPDATES / updates))
    evidence = f"{updates} updates of the weights; at least {FEW_UPDATES} are wanted, better some hundreds"
    return Diagnosis("too few updates", evidence, f"{longer}, or a smaller --set train.batch_size")


def _overfits(course: _Course) -> Diagnosis | None:
    if len(course.validations) < 2:
        return None
    best, last = min(course.validations, key=lambda v: v.loss), course.validations[-1]
    until = [step.loss for step in course.steps if step.step <= best.step][-course.window :]
    rose = last.loss >= max(SOLVED, best.loss * (1 + OVERFIT_RISE))
    if not rose or not until or course.last_loss >= np.mean(until):
        return None
    evidence = (
        f"after epoch {best.epoch:.2g} validation loss rose from {best.loss:.3g} to {last.loss:.3g} "
        f"while training loss fell from {np.mean(until):.3g} to {course.last_loss:.3g}"
    )
    remedy = f"{_epochs(best.epoch)}, --set train.dropout=0.1 or --set train.weight_decay=0.05; or more data"
    return Diagnosis("overfitting", evidence, remedy)


def _still_learning(course: _Course) -> Diagnosis | None:
    if len(course.validations) < 3 or not course.finished:
        return None
    last = course.validations[-1]
    before = [v for v in course.validations if v.step <= 0.75 * last.step]
    if not before or last.loss > min(v.loss for v in course.validations):
        return None
    if last.loss > (1 - STILL_FALLING) * before[-1].loss:
        return None
    evidence = f"validation loss was still falling: {before[-1].loss:.3g} at update {before[-1].step}, {last.loss:.3g}"
    return Diagnosis("stopped too early", f"{evidence} at the end", _epochs(course.epochs * 2))


def _spikes(course: _Course) -> Diagnosis | None:
    losses, spikes = course.losses, []
    for i in range(SPIKE_WINDOW, len(losses)):
        before = losses[i - SPIKE_WINDOW : i]
        limit = before.mean() + SPIKE_DEVIATIONS * before.std(ddof=1)
        if losses[i] > max(limit, course.first_loss / 2):  # near a loss of 0 any hard row stands out
            spikes.append(course.steps[i])
    if not spikes:
        return None
    worst = max(spikes, key=lambda step: step.loss)
    evidence = f"{len(spikes)} losses far above those before; the worst {worst.loss:.3g} at update {worst.step}"
    return Diagnosis("spikes", evidence, f"{_rate(course.learning_rate / 2)} or --set train.clip_norm=0.5")


def _healthy(course: _Course) -> Diagnosis:
    evidence = f"training loss fell from {course.first_loss:.3g} to {course.last_loss:.3g}"
    if course.validations:
        best = min(course.validations, key=lambda v: v.loss)
        evidence += f", validation loss was best ({best.loss:.3g}) at update {best.step} of {course.steps[-1].step}"
    return Diagnosis(HEALTHY, evidence, "nothing to do")


def _rate(value: float) -> str:
    return f"--learning-rate {float(f'{value:.1g}'):g}"


def _epochs(value: float) -> str:
    return f"--epochs {max(0.1, float(f'{value:.2g}')):g}"
