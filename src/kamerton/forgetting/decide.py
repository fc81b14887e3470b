"""Decide what a model forgot: each measure before and after tuning, on the same rows, and one decision.

The decision uses the end of the interval that favors the model, not the point estimate: it is "mild" or "severe" only
when chance cannot explain it. What decides:

| model    | measure                                        | mild beyond | severe beyond |
|----------|------------------------------------------------|-------------|---------------|
| language | cross-entropy of general text, nats per token  | +0.05       | +0.3          |
| seq2seq  | the same, of the second half given the first   | +0.05       | +0.3          |
| encoder  | linear-probe accuracy                          | -0.05       | -0.15         |
| encoder  | masked words, nats each                        | +0.05       | +0.3          |
| language | accuracy on a benchmark that was asked for     | -0.05       | -0.15         |

The nats: in PEFT's method comparison of 63 runs the rise has its quartiles at 0.05 and 0.19; 7 runs exceed 0.3.
The shares: a fine-tuned encoder adapts to its task, and loses a few points at the usual rates; 5 of 100 texts is what
the probe's rows can tell from chance, and three times that is a loss in any other use. Everything else is shown but
does not decide: small models are near chance on multiple choice, and a divergence measures how much changed, not
whether for the worse.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Wording, between, msg
from kamerton.core.outcomes import Forgetting, ForgettingDecision, Forgotten
from kamerton.forgetting.probe import LANGUAGE_NAMES, Probe, rows_in
from kamerton.forgetting.representation import Representation, neighbor_overlap, probe_hits
from kamerton.forgetting.speech import Speech, divergence, kept_formats, variety
from kamerton.statistics.intervals import bootstrap_interval
from kamerton.statistics.resampling import Block


@dataclass(frozen=True)
class Limits:
    """Limits of a mild and a severe change; `sign` is +1 where more is worse, -1 where less is."""

    sign: int
    mild: float
    severe: float

    def decide(self, change: Forgotten) -> ForgettingDecision:
        """Decide by the smallest harm in the interval."""
        harm = change.low if self.sign > 0 else -change.high
        return "severe" if harm > self.severe else "mild" if harm > self.mild else "none"


NATS = Limits(+1, 0.05, 0.3)
SHARES = Limits(-1, 0.05, 0.15)
POINTS = Limits(-1, 0.05, 0.15)
DECISIONS = {"not measured": msg("not measured"), "none": msg("none"), "mild": msg("mild"), "severe": msg("severe")}


@dataclass(frozen=True)
class Measured:
    """A change, and its limits; None if it is only shown."""

    change: Forgotten
    limits: Limits | None = None

    @property
    def harm(self) -> float:
        """The change, signed so that more is worse; 0 if it does not count."""
        return self.limits.sign * self.change.change if self.limits else 0.0


@dataclass(frozen=True)
class Precision:
    """How intervals are computed."""

    confidence: float
    resamples: int
    seed: int

    def measure(
        self,
        name: Wording,
        base: np.ndarray,
        tuned: np.ndarray,
        weights: np.ndarray | None = None,
        limits: Limits | None = None,
    ) -> Measured:
        """Compare two sums per row `[rows]`, divided by the rows' weights, with a paired bootstrap over the rows."""
        weights = np.ones(len(base)) if weights is None else weights
        before, after = base.sum() / weights.sum(), tuned.sum() / weights.sum()
        pairs = np.stack([tuned - base, weights], axis=1)
        interval = bootstrap_interval(Block(pairs, _ratio), self.confidence, self.resamples, self.seed)
        change = Forgotten(name, float(before), float(after), interval.value, interval.low, interval.high)
        return Measured(change, limits)


def speech_changes(probe: Probe, base: Speech, tuned: Speech, precision: Precision) -> Iterator[Measured]:
    """Compare a language model before and after, by language."""
    yield from text_changes(probe, base, tuned, precision)
    for language in dict.fromkeys(question.language for question in probe.questions):
        name = LANGUAGE_NAMES[language]
        asked, wanted = rows_in(probe.questions, language), rows_in(probe.requests, language)
        right = base.right[asked], tuned.right[asked]
        yield precision.measure(msg("{language} questions, share right", language=name), *right)
        requests = [request for request in probe.requests if request.language == language]
        answers = [[a for a, here in zip(one.answers, wanted, strict=True) if here] for one in (base, tuned)]
        formats = kept_formats(requests, answers[0]), kept_formats(requests, answers[1])
        yield precision.measure(msg("{language} requests, share in the requested format", language=name), *formats)
        own = variety(answers[0]), variety(answers[1])
        yield precision.measure(msg("{language} answers, share of words in no other answer", language=name), *own)


def text_changes(probe: Probe, base: Speech, tuned: Speech, precision: Precision) -> Iterator[Measured]:
    """Compare the losses of plain texts, and the divergence of the predictions on them, by language."""
    for language in dict.fromkeys(document.language for document in probe.documents):
        name, here = LANGUAGE_NAMES[language], rows_in(probe.documents, language)
        losses = base.losses[here], tuned.losses[here], base.tokens[here]
        yield precision.measure(msg("{language} text, nats per token", language=name), *losses, NATS)
        moved = divergence(base.outlooks[here], tuned.outlooks[here]).mean(axis=1)
        measure = msg("{language} text, divergence from the base model, nats", language=name)
        yield precision.measure(measure, 0 * moved, moved)


def task_change(base: np.ndarray, tuned: np.ndarray, precision: Precision) -> Measured:
    """Compare the predictions `[rows, vocabulary]` on the task's own rows, where a model is meant to change."""
    moved = divergence(base, tuned)
    return precision.measure(msg("the task's rows, divergence from the base model, nats"), 0 * moved, moved)


def representation_changes(
    probe: Probe, base: Representation, tuned: Representation, precision: Precision
) -> Iterator[Measured]:
    """Compare linear probes and nearest neighbors of an encoder's embeddings before and after, by language."""
    for language in dict.fromkeys(document.language for document in probe.documents):
        name = LANGUAGE_NAMES[language]
        documents, questions = rows_in(probe.documents, language), rows_in(probe.questions, language)
        kinds = [document.kind for document in probe.documents if document.language == language]
        topics = [question.topic for question in probe.questions if question.language == language]
        before, after = (
            np.concatenate([probe_hits(one.texts[documents], kinds), probe_hits(one.questions[questions], topics)])
            for one in (base, tuned)
        )
        measure = msg("{language} kinds and topics, linear-probe accuracy", language=name)
        yield precision.measure(measure, before, after, limits=SHARES)
        texts = neighbor_overlap(base.texts[documents], tuned.texts[documents])
        kept = np.concatenate([texts, neighbor_overlap(base.questions[questions], tuned.questions[questions])])
        yield precision.measure(msg("{language} texts, nearest-neighbor overlap", language=name), 0 * kept + 1, kept)


def masked_change(base: np.ndarray, tuned: np.ndarray, words: np.ndarray, precision: Precision) -> Measured:
    """Compare the masked-language losses of documents, `words` masked in each: `[documents]`."""
    return precision.measure(msg("masked words, nats each"), base, tuned, words, NATS)


def deciding(measured: Sequence[Measured]) -> Measured:
    """Return the deciding measure with the largest harm relative to its severe limit, whatever its units."""
    return max((one for one in measured if one.limits), key=lambda one: one.harm / (one.limits or NATS).severe)


def conclude_forgetting(measured: Sequence[Measured], left_out: Wording = "") -> Forgetting:
    """Decide by the worst of the deciding measures."""
    changes = tuple(one.change for one in measured)
    counted = [(one.limits.decide(one.change), one) for one in measured if one.limits]
    if not counted:
        return Forgetting(reason=left_out or msg("nothing that counts was measured"), measured=changes)
    worst = max((decision for decision, _ in counted), key=[*DECISIONS].index)
    largest = deciding([one for decision, one in counted if decision == worst])
    change = largest.change
    reason: Message = msg(
        "{measure}: changed by {change} ({ends}); {meaning}.",
        measure=change.name,
        change=Figure(change.change, "signed"),
        ends=between(change.low, change.high, "signed"),
        meaning=_meaning(worst, change, largest.limits or NATS),
    )
    return Forgetting(worst, Joined([reason, left_out], " ") if left_out else reason, changes)


def _meaning(decision: ForgettingDecision, change: Forgotten, limits: Limits) -> Message:
    mild, severe = (Figure(limits.sign * limit, "signed") for limit in (limits.mild, limits.severe))
    if decision == "severe":
        return msg("the whole interval exceeds {limit}, which counts as severe", limit=severe)
    if decision == "mild":
        return msg("the whole interval exceeds {limit}, which counts as mild", limit=mild)
    if limits.sign * change.change <= limits.mild:
        return msg("up to {limit} counts as none", limit=mild)
    if change.low > 0 or change.high < 0:
        return msg("this is not chance, but it does not surely exceed {limit}, from where it counts", limit=mild)
    return msg("there are too few rows to tell it from chance")


def _ratio(totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # all rows that were drawn again may have no weight
        return totals[..., 0] / totals[..., 1]
