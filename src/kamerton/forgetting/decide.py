"""What tuning made a model forget: each measure before and after, on the same rows, and one decision.

The decision goes by the end of the interval that speaks for the model, not by the point: "mild" or "severe" is said
only when chance cannot explain it. What decides:

| model    | measure                                     | mild beyond | severe beyond |
|----------|---------------------------------------------|-------------|---------------|
| language | cross-entropy of general text, nats a token | +0.05       | +0.3          |
| seq2seq  | the same, of its second half after its first | +0.05      | +0.3          |
| encoder  | what a linear classifier reads off, share   | -0.05       | -0.15         |
| encoder  | masked words, nats each                     | +0.05       | +0.3          |
| language | a benchmark that was asked for, share right | -0.05       | -0.15         |

The nats: in PEFT's method comparison of 63 runs the rise has its quartiles at 0.05 and 0.19; 7 runs exceed 0.3.
The shares: a fine-tuned encoder is meant to turn towards its task, and at the usual rates loses up to a few points;
5 of 100 texts is what the probe's rows can tell from chance, and three times that is a loss in any other use.
Everything else is evidence that is shown but does not decide: on multiple choice small models stand near chance, and
a divergence says how much changed, not whether for the worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kamerton.core.outcomes import Forgetting, ForgettingDecision, Forgotten
from kamerton.forgetting.probe import LANGUAGES, Probe, rows_in
from kamerton.forgetting.representation import Representation, read_off, same_neighbours
from kamerton.forgetting.speech import Speech, divergence, kept_formats, variety
from kamerton.statistics.intervals import bootstrap_interval
from kamerton.statistics.resampling import Block


@dataclass(frozen=True)
class Limits:
    """From where on a change is mild or severe; `sign` is +1 where more is worse, -1 where less is."""

    sign: int
    mild: float
    severe: float

    def decide(self, change: Forgotten) -> ForgettingDecision:
        """Decide by the least harm that the interval allows."""
        harm = change.low if self.sign > 0 else -change.high
        return "severe" if harm > self.severe else "mild" if harm > self.mild else "none"


NATS = Limits(+1, 0.05, 0.3)
SHARES = Limits(-1, 0.05, 0.15)
POINTS = Limits(-1, 0.05, 0.15)
SEVERITY: tuple[ForgettingDecision, ...] = ("not measured", "none", "mild", "severe")


@dataclass(frozen=True)
class Measured:
    """A change, and what it must exceed to count against the model; None if it is only shown."""

    change: Forgotten
    limits: Limits | None = None

    @property
    def harm(self) -> float:
        """The change, signed so that more is worse; 0 if it does not count."""
        return self.limits.sign * self.change.change if self.limits else 0.0

    @property
    def weight(self) -> float:
        """The harm as a share of what is severe, by which measures of different units are held together."""
        return self.harm / self.limits.severe if self.limits else 0.0


@dataclass(frozen=True)
class Precision:
    """How intervals are computed."""

    confidence: float
    resamples: int
    seed: int

    def change(self, name: str, base: np.ndarray, tuned: np.ndarray, weights: np.ndarray | None = None) -> Forgotten:
        """Compare two sums per row `[rows]`, divided by the rows' weights, with a paired bootstrap over the rows."""
        weights = np.ones(len(base)) if weights is None else weights
        before, after = base.sum() / weights.sum(), tuned.sum() / weights.sum()
        pairs = np.stack([tuned - base, weights], axis=1)
        interval = bootstrap_interval(Block(pairs, _ratio), self.confidence, self.resamples, self.seed)
        return Forgotten(name, float(before), float(after), interval.value, interval.low, interval.high)


def speech_changes(probe: Probe, base: Speech, tuned: Speech, precision: Precision) -> Iterator[Measured]:
    """Compare all that a language model says before and after, by language."""
    yield from text_changes(probe, base, tuned, precision)
    for language in dict.fromkeys(question.language for question in probe.questions):
        name, asked, wanted = LANGUAGES[language], rows_in(probe.questions, language), rows_in(probe.requests, language)
        yield Measured(precision.change(f"{name} questions, share right", base.right[asked], tuned.right[asked]))
        requests = [request for request in probe.requests if request.language == language]
        before, after = ([a for a, here in zip(one.answers, wanted, strict=True) if here] for one in (base, tuned))
        formats = kept_formats(requests, before), kept_formats(requests, after)
        yield Measured(precision.change(f"{name} requests, share in the form asked for", *formats))
        own = variety(before), variety(after)
        yield Measured(precision.change(f"{name} answers, share of words of their own", *own))


def text_changes(probe: Probe, base: Speech, tuned: Speech, precision: Precision) -> Iterator[Measured]:
    """Compare the losses of plain texts, and how far the outlook on them moved, by language."""
    for language in dict.fromkeys(document.language for document in probe.documents):
        name, here = LANGUAGES[language], rows_in(probe.documents, language)
        losses = base.losses[here], tuned.losses[here], base.tokens[here]
        yield Measured(precision.change(f"{name} text, nats a token", *losses), NATS)
        moved = divergence(base.outlooks[here], tuned.outlooks[here]).mean(axis=1)
        yield Measured(precision.change(f"{name} text, divergence from the base, nats", 0 * moved, moved))


def task_change(base: np.ndarray, tuned: np.ndarray, precision: Precision) -> Measured:
    """Compare the outlooks `[rows, vocabulary]` on the task's own rows: there a model is meant to change."""
    moved = divergence(base, tuned)
    return Measured(precision.change("the task's rows, divergence from the base, nats", 0 * moved, moved))


def representation_changes(
    probe: Probe, base: Representation, tuned: Representation, precision: Precision
) -> Iterator[Measured]:
    """Compare what can be read off an encoder's embeddings before and after, by language."""
    for language in dict.fromkeys(document.language for document in probe.documents):
        name = LANGUAGES[language]
        documents, questions = rows_in(probe.documents, language), rows_in(probe.questions, language)
        kinds = [document.kind for document in probe.documents if document.language == language]
        topics = [question.topic for question in probe.questions if question.language == language]
        found = [
            np.concatenate([read_off(one.texts[documents], kinds), read_off(one.questions[questions], topics)])
            for one in (base, tuned)
        ]
        yield Measured(precision.change(f"{name} kinds and topics, share a linear reader finds", *found), SHARES)
        kept = np.concatenate(
            [
                same_neighbours(base.texts[documents], tuned.texts[documents]),
                same_neighbours(base.questions[questions], tuned.questions[questions]),
            ]
        )
        yield Measured(precision.change(f"{name} texts, share of the same neighbours", 0 * kept + 1, kept))


def masked_change(base: np.ndarray, tuned: np.ndarray, words: np.ndarray, precision: Precision) -> Measured:
    """Compare the masked-language losses of documents, `words` masked in each: `[documents]`."""
    return Measured(precision.change("masked words, nats each", base, tuned, words), NATS)


def deciding(measured: Sequence[Measured]) -> Measured:
    """Give the measure that speaks loudest against the model, of those that count."""
    return max((one for one in measured if one.limits), key=lambda one: one.weight)


def conclude_forgetting(measured: Sequence[Measured], left_out: str = "") -> Forgetting:
    """Decide by the worst of the measures that count, and say which it was.

    Args:
        measured: all that was measured.
        left_out: what was not, and why, as a sentence; empty if nothing.
    """
    if not any(one.limits for one in measured):
        return Forgetting(reason=left_out or "nothing that counts was measured", measured=_changes(measured))
    counted = [(one.limits.decide(one.change), one) for one in measured if one.limits]
    worst = max((decision for decision, _ in counted), key=SEVERITY.index)
    loudest = deciding([one for decision, one in counted if decision == worst])
    limits, change = loudest.limits or NATS, loudest.change
    interval = f"changed by {change.change:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    meaning = {
        "none": f"up to {limits.sign * limits.mild:+g} counts as none",
        "mild": f"all of it is beyond {limits.sign * limits.mild:+g}, which counts as mild",
        "severe": f"all of it is beyond {limits.sign * limits.severe:+g}, which counts as severe",
    }[worst]
    if worst == "none" and limits.sign * change.change > limits.mild:
        real = change.low > 0 or change.high < 0
        beyond = f"it is no chance, but not surely beyond {limits.sign * limits.mild:+g}, from where on it counts"
        meaning = beyond if real else "the rows are too few to tell that from chance"
    reason = f"{change.name}: {interval}; {meaning}.{' ' + left_out if left_out else ''}"
    return Forgetting(worst, reason, _changes(measured))


def _changes(measured: Sequence[Measured]) -> tuple[Forgotten, ...]:
    return tuple(one.change for one in measured)


def _ratio(totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # all rows that were drawn again may have no weight
        return totals[..., 0] / totals[..., 1]
