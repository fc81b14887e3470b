"""Diagnoses of training and of its answers, each with its evidence and the settings that help."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from kamerton.core.figures import Figure, number
from kamerton.core.messages import Joined, msg
from kamerton.core.outcomes import Answers, Diagnosis
from kamerton.core.records import Event, Example, Started, Stepped, Stopped, Validated

Change = Mapping[str, object]
"""Settings by dotted path."""
RATE, EPOCHS = "train.learning_rate", "train.epochs"
FLAGS = {RATE: "--learning-rate", EPOCHS: "--epochs"}
HEALTHY = "healthy"
FEW_UPDATES = 30
"""Fewer updates leave most of a warm-up and a decay unseen; fine-tuning usually needs hundreds."""
OVERFIT_RISE = 0.05
"""Share by which the validation loss must have risen from its best; less is noise of small validation sets."""
DIVERGED = 0.2
"""Share by which the training loss must have risen from its start."""
SOLVED = 0.05
"""Nats below which a loss has nothing left to fall."""
LEARNT = 0.05
"""Share by which the training loss must fall before anything counts as learned."""
STILL_FALLING = 0.05
"""Share by which the validation loss fell in the last quarter of training that had room for more."""
SPIKE_DEVIATIONS, SPIKE_WINDOW = 6, 20
"""A spike is this many standard deviations above the mean of this many losses before it."""
STILL = 1e-6
"""Relative change of the weights below which nothing was trained: float32 does not resolve much less."""
NO_GRADIENT = 1e-8
DIED = 1e-4
"""Share of its first norm below which a gradient has died away, where the loss still has something to fall."""
EXPLODED = 100.0
"""Growth of the gradients' norm that no healthy fine-tuning shows: over its course it stays within three times."""
GREW, ALL_CLIPPED = 10.0, 0.95
"""Growth that counts as an explosion where nearly all updates were clipped."""
NAMED_CLASSES = 8
MISREAD_ROWS, MISREAD_SHARE = 5, 0.3
"""Rows, and share of them, that another order of the labels must have right besides: no chance finds so many."""
SUPPORT = 3
"""Rows of a class from which on never predicting it is not chance."""


def diagnose(events: Sequence[Event], clip_norm: float = 1.0) -> list[Diagnosis]:
    """Diagnose the events of one training.

    Args:
        events: of one training.
        clip_norm: the largest norm of a gradient that was let through.

    Returns:
        The worst first, `healthy` if there is none, nothing if nothing was trained. Losses that are not finite
        explain all else, so nothing follows them.
    """
    steps = [event for event in events if isinstance(event, Stepped)]
    if not steps:
        return []
    course = _Course(steps, events, clip_norm)
    if fatal := _not_finite(course):
        return [fatal]
    checks = (_exploded, _diverged, _died, _still, _hardly_learnt, _few_updates, _overfits, _still_learning, _spikes)
    return [diagnosis for check in checks if (diagnosis := check(course))] or [_healthy(course)]


def diagnose_classes(train: Sequence[Example]) -> list[Diagnosis]:
    """Find training rows that all have one class: then no rate and no number of epochs can help."""
    if len({example.gold for example in train}) != 1:
        return []
    evidence = msg(
        "all {rows} training {rows:row has|rows have} the same answer: '{label}'", rows=len(train), label=train[0].gold
    )
    return [Diagnosis("all answers are the same class", evidence, msg("add rows of the other classes"))]


def diagnose_rate(tried: Mapping[float, float], rate: float) -> list[Diagnosis]:
    """Report a best rate at the edge of the range test, since a better one may lie beyond.

    Args:
        tried: validation loss by rate, infinite where training broke down; empty without a range test.
        rate: what was trained with: the best one, or lower, for a long run.
    """
    rates = sorted(tried)
    if len(rates) < 2 or (best := min(rates, key=tried.__getitem__)) not in (rates[0], rates[-1]):
        return []
    lowest = best == rates[0]
    inner = rates[1] if lowest else rates[-2]
    evidence = msg(
        "{rate} is the best of {count} rates and the {edge} that was tried: validation loss {loss} there, "
        "{other} at {inner}",
        rate=best,
        count=len(rates),
        edge=msg("lowest") if lowest else msg("highest"),
        loss=tried[best],
        other=tried[inner],
        inner=inner,
    )
    further = _rate(min(1.0, rate * (1 / 3 if lowest else 3)))
    return [Diagnosis("the rate is at the edge of its range", evidence, _flag(further), (further,))]


def diagnose_answers(examples: Sequence[Example], answers: Answers) -> list[Diagnosis]:
    """Find classes that a contender never answers, for tasks whose gold answers are classes.

    Args:
        examples: the test rows; or others, if only the names of what is found are looked at.
        answers: one contender's predictions for them, in their order.
    """
    golds = Counter(example.gold for example in examples)
    given = {prediction.text for prediction in answers.predictions}
    if len(golds) > 1 and len(given) == 1:
        template = "'{label}' is the answer to all {rows} test rows of {classes} classes"
        evidence = msg(template, label=next(iter(given)), rows=len(examples), classes=len(golds))
        remedy = msg("train longer or faster: raise --epochs or --learning-rate; `kamerton audit` checks the labels")
        return [Diagnosis("one answer to everything", evidence, remedy)]
    never = [label for label, rows in golds.most_common() if rows >= SUPPORT and label not in given]
    if not never:
        return []
    shown = never[:NAMED_CLASSES]
    named = [msg("'{label}' ({rows} test {rows:row|rows})", label=label, rows=golds[label]) for label in shown]
    if len(never) > NAMED_CLASSES:
        named.append(msg("{count} more", count=len(never) - NAMED_CLASSES))
    evidence = msg("never predicted: {named}", named=Joined(named, ", "))
    weighted = {"data.balance": "weights"}
    remedy = msg(
        "add training rows of these classes, or weigh all classes the same: {weighted} in training, "
        "--set evaluate.metric=macro-f1 in the choice of the checkpoint",
        weighted=_flag(weighted),
    )
    return [Diagnosis("a class is never predicted", evidence, remedy, (weighted,))]


def diagnose_order(examples: Sequence[Example], answers: Answers) -> list[Diagnosis]:
    """Find a head whose outputs stand for other classes than they are read as: another order is right far more often.

    Args:
        examples: the test rows, whose gold answers are classes.
        answers: one contender's predictions for them, in their order.
    """
    names = sorted({example.gold for example in examples} | {one.text for one in answers.predictions})
    at = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for example, one in zip(examples, answers.predictions, strict=True):
        counts[at[one.text], at[example.gold]] += 1
    meant = linear_sum_assignment(-counts)[1]
    as_read, best = int(np.trace(counts)), int(counts[np.arange(len(names)), meant].sum())
    moved = [i for i in range(len(names)) if meant[i] != i and counts[i].any()]
    if not moved or best - as_read < max(MISREAD_ROWS, MISREAD_SHARE * len(examples)):
        return []
    pairs = [msg("'{answer}' as '{label}'", answer=names[i], label=names[meant[i]]) for i in moved[:NAMED_CLASSES]]
    evidence = msg(
        "{right} of {rows} test rows are answered correctly; {best} would be if answers were read otherwise: {pairs}",
        right=as_read,
        rows=len(examples),
        best=best,
        pairs=Joined(pairs, ", "),
    )
    remedy = msg("check which label each output of the model stands for, and give the order with --labels")
    return [Diagnosis("labels in another order", evidence, remedy)]


class _Course:
    """The events of training, sorted and summed up: at least one update."""

    def __init__(self, steps: Sequence[Stepped], events: Sequence[Event], clip_norm: float) -> None:
        self.steps, self.clip_norm = steps, clip_norm
        self.validations = [event for event in events if isinstance(event, Validated)]
        changes = [event.weight_change for event in events if isinstance(event, Stopped)]
        self.weight_change = changes[-1] if changes else None
        self.losses = np.array([step.loss for step in steps])
        self.norms = np.array([step.gradient_norm for step in steps])  # before clipping
        window = max(1, min(SPIKE_WINDOW, len(steps) // 5))  # the loss of one update depends mostly on its rows
        self.window = window
        self.first_loss, self.last_loss = float(self.losses[:window].mean()), float(self.losses[-window:].mean())
        self.first_norm, self.last_norm = float(np.median(self.norms[:window])), float(np.median(self.norms[-window:]))
        self.learning_rate = max(step.learning_rate for step in steps)
        planned, last = max((event.steps for event in events if isinstance(event, Started)), default=0), steps[-1]
        self.finished = last.step >= planned
        self.epochs = last.epoch * max(last.step, planned) / last.step  # planned passes over the data


def _not_finite(course: _Course) -> Diagnosis | None:
    bad = [step.step for step in course.steps if not math.isfinite(step.loss + step.gradient_norm)]
    bad += [validation.step for validation in course.validations if not math.isfinite(validation.loss)]
    if not bad:
        return None
    template = "loss or gradient was not finite at update {update}, at a learning rate of {rate}"
    evidence = msg(template, update=min(bad), rate=course.learning_rate)
    lower = _rate(course.learning_rate / 10)
    return Diagnosis("not finite", evidence, _flag(lower), (lower,))


def _exploded(course: _Course) -> Diagnosis | None:
    first, last, limit = course.first_norm, course.last_norm, course.clip_norm
    clipped = float((course.norms > limit).mean())
    if last <= limit or last / max(first, NO_GRADIENT) < (GREW if clipped >= ALL_CLIPPED else EXPLODED):
        return None
    template = "the gradient norm grew from {first} to {last}; {share} of the updates were clipped to {limit}"
    evidence = msg(template, first=first, last=last, share=Figure(clipped, "percent"), limit=f"{limit:g}")
    lower, warmer = _rate(course.learning_rate / 3), {"train.warmup": 0.1}
    remedy = msg("{rate} or a longer {warmup}", rate=_flag(lower), warmup=_flag(warmer))
    return Diagnosis("exploding gradients", evidence, remedy, (lower, warmer))


def _died(course: _Course) -> Diagnosis | None:
    if course.last_norm >= DIED * course.first_norm or course.last_loss <= SOLVED or course.first_norm < NO_GRADIENT:
        return None
    template = "the gradient norm fell from {first} to {last} while the training loss is still {loss}"
    evidence = msg(template, first=course.first_norm, last=course.last_norm, loss=course.last_loss)
    lower, finer = _rate(course.learning_rate / 3), {"model.precision": "fp32"}
    remedy = msg("{one} or {other}", one=_flag(lower), other=_flag(finer))
    return Diagnosis("dead gradients", evidence, remedy, (lower, finer))


def _diverged(course: _Course) -> Diagnosis | None:
    if course.last_loss < max(SOLVED, course.first_loss * (1 + DIVERGED)):
        return None
    evidence = msg("training loss rose from {first} to {last}", first=course.first_loss, last=course.last_loss)
    lower = _rate(course.learning_rate / 3)
    return Diagnosis("divergence", evidence, _flag(lower), (lower,))


def _still(course: _Course) -> Diagnosis | None:
    gradient = float(np.median(course.norms))
    change = course.weight_change
    if (change is None or change >= STILL) and gradient >= NO_GRADIENT:
        return None
    parts = [msg("median gradient norm {norm}", norm=gradient)]
    if change is not None:
        parts.insert(0, msg("the trained weights changed by {share} of their size", share=change))
    higher = _rate(course.learning_rate * 10)
    return Diagnosis("the weights do not move", Joined(parts, ", "), _flag(higher), (higher,))


def _hardly_learnt(course: _Course) -> Diagnosis | None:
    first, last = course.first_loss, course.last_loss
    if not max(SOLVED, (1 - LEARNT) * first) < last < (1 + DIVERGED) * first:
        return None
    if last < first and number(first) != number(last):
        evidence = msg("training loss fell only from {first} to {last}", first=first, last=last)
    else:
        evidence = msg("training loss did not fall: {first} at first, {last} at last", first=first, last=last)
    higher, longer = _rate(course.learning_rate * 3), _epochs(course.epochs * 2)
    remedy = msg("{one} or {other}", one=_flag(higher), other=_flag(longer))
    return Diagnosis("underfitting", evidence, remedy, (higher, longer))


def _few_updates(course: _Course) -> Diagnosis | None:
    updates = course.steps[-1].step
    if updates >= FEW_UPDATES:
        return None
    template = "{updates} {updates:update|updates} of the weights; at least {least} are needed, better some hundreds"
    evidence = msg(template, updates=updates, least=FEW_UPDATES)
    longer = _epochs(math.ceil(course.epochs * FEW_UPDATES / updates))
    remedy = msg("{epochs}, or a smaller --set train.batch_size", epochs=_flag(longer))
    return Diagnosis("too few updates", evidence, remedy, (longer,))


def _overfits(course: _Course) -> Diagnosis | None:
    if len(course.validations) < 2:
        return None
    best, last = min(course.validations, key=lambda v: v.loss), course.validations[-1]
    until = [step.loss for step in course.steps if step.step <= best.step][-course.window :]
    rose = last.loss >= max(SOLVED, best.loss * (1 + OVERFIT_RISE))
    if not rose or not until or course.last_loss >= np.mean(until):
        return None
    evidence = msg(
        "after epoch {epoch} validation loss rose from {low} to {high} while training loss fell from {first} to {last}",
        epoch=f"{best.epoch:.2g}",
        low=best.loss,
        high=last.loss,
        first=float(np.mean(until)),
        last=course.last_loss,
    )
    shorter, dropout, decay = _epochs(best.epoch), {"train.dropout": 0.1}, {"train.weight_decay": 0.05}
    template = "{epochs}, {dropout} or {decay}; or more data"
    remedy = msg(template, epochs=_flag(shorter), dropout=_flag(dropout), decay=_flag(decay))
    return Diagnosis("overfitting", evidence, remedy, (shorter, dropout, decay))


def _still_learning(course: _Course) -> Diagnosis | None:
    if len(course.validations) < 3 or not course.finished:
        return None
    last = course.validations[-1]
    before = [v for v in course.validations if v.step <= 0.75 * last.step]
    if not before or last.loss > min(min(v.loss for v in course.validations), (1 - STILL_FALLING) * before[-1].loss):
        return None
    template = "validation loss was still falling: {before} at update {update}, {last} at the end"
    evidence = msg(template, before=before[-1].loss, update=before[-1].step, last=last.loss)
    longer = _epochs(course.epochs * 2)
    return Diagnosis("stopped too early", evidence, _flag(longer), (longer,))


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
    template = "{count} {count:loss|losses} far above those before; the worst {loss} at update {update}"
    evidence = msg(template, count=len(spikes), loss=worst.loss, update=worst.step)
    lower, clipped = _rate(course.learning_rate / 2), {"train.clip_norm": 0.5}
    remedy = msg("{one} or {other}", one=_flag(lower), other=_flag(clipped))
    return Diagnosis("spikes", evidence, remedy, (lower, clipped))


def _healthy(course: _Course) -> Diagnosis:
    parts = [msg("training loss fell from {first} to {last}", first=course.first_loss, last=course.last_loss)]
    if course.validations:
        best = min(course.validations, key=lambda v: v.loss)
        template = "validation loss was best ({loss}) at update {update} of {updates}"
        parts.append(msg(template, loss=best.loss, update=best.step, updates=course.steps[-1].step))
    return Diagnosis(HEALTHY, Joined(parts, ", "), msg("nothing to do"))


def _rate(value: float) -> Change:
    return {RATE: float(f"{value:.1g}")}


def _epochs(value: float) -> Change:
    return {EPOCHS: max(0.1, float(f"{value:.2g}"))}


def _flag(change: Change) -> str:
    """Return a change of one setting as the command line takes it."""
    [(path, value)] = change.items()
    written = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{FLAGS[path]} {written}" if path in FLAGS else f"--set {path}={written}"
