"""What a run came to: scores, comparisons, the verdict, what was forgotten, what would help. Plain values, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kamerton.core.messages import Wording
from kamerton.core.records import Prediction


@dataclass(frozen=True)
class Measure:
    """A metric's value with its confidence interval."""

    value: float
    low: float
    high: float


ContenderKind = Literal["tuned", "variant", "base", "prompt", "classic", "trivial"]
"""A variant is the tuned model asked in another way: it is shown, and the verdict does not look at it."""


@dataclass(frozen=True)
class Answers:
    """All predictions of one contender on the test set, in the test set's order."""

    name: str
    kind: ContenderKind
    predictions: tuple[Prediction, ...]
    seconds: float
    title: Wording = ""
    """The name as a message; older runs have none."""


@dataclass(frozen=True)
class ClassResult:
    """How well one class, or one label among several, is recognized."""

    name: str
    precision: float
    """Of the rows that were given it, the share that has it; NaN if none was."""
    recall: float
    """Of the rows that have it, the share that was given it; NaN if none has it, and so is its F1."""
    f1: float
    support: int
    """Rows that have it."""


@dataclass(frozen=True)
class Contender:
    """One contender's scores on the test set."""

    name: str
    kind: ContenderKind
    metrics: Mapping[str, Measure]
    seconds: float
    per_class: tuple[ClassResult, ...] = ()
    """Of each class, where it was asked for."""
    title: Wording = ""
    """The name as a message; older runs have none."""


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two contenders on the same rows: first minus second."""

    difference: float
    low: float
    high: float
    p_value: float
    minimum_detectable: float
    """The smallest true difference that this many rows would show with 80% power at the 5% level; 0: not known."""


@dataclass(frozen=True)
class Against:
    """The tuned model compared with one other contender: positive means that the tuned model is better."""

    name: str
    comparison: Comparison
    adjusted_p: float
    """By Holm over all the contenders: for saying of several at once that the tuned model differs from them."""


@dataclass(frozen=True)
class Seeds:
    """Training repeated with other seeds on the same split."""

    scores: tuple[float, ...]
    """Of each training in the deciding metric, the judged one first."""
    mean: float
    deviation: float
    """Standard deviation of the scores between seeds."""
    difference: float
    """Mean gain over the best other contender."""
    low: float
    high: float
    """Its interval, over the luck of the test rows and of the seed."""


Standing = Literal["better", "equivalent", "not worse", "worse", "unclear"]
"""What an interval of a gain says beside a margin: all above 0; within the margin on both sides; above minus the
margin; all below 0; none of these."""


@dataclass(frozen=True)
class Verdict:
    """Whether the tuned model is worth using, and why."""

    decision: Literal["ship", "do not ship", "not proven"]
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    minimum_detectable: float
    reason: Wording
    """One sentence for a manager."""
    standing: Standing = "unclear"
    margin: float = 0.0
    """How much worse still counts as not worse, in the metric's unit."""
    comparisons: tuple[Against, ...] = ()
    """With every other contender, the best first."""
    seeds: Seeds | None = None


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities can be believed, each with its interval; less is better."""

    ece: Measure
    """Expected calibration error: how far shares of right answers lie from the probabilities given."""
    brier: Measure
    nll: Measure
    """Negative log-likelihood of the right class, nats."""


@dataclass(frozen=True)
class Reliability:
    """Answers of about the same probability, and how many of them are right."""

    rows: int
    score: float
    """Mean probability of the answers."""
    right: Measure
    """Share of right ones, with Wilson's interval."""


@dataclass(frozen=True)
class Calibrated:
    """A temperature that was fitted on validation rows, and what it does on test rows."""

    temperature: float
    """Above 1: the model was too sure."""
    rows: int
    """Validation rows it was fitted on."""
    before: Calibration
    after: Calibration
    chance: float
    """Calibration error that a model with true probabilities stays below on such test rows, 95 times in 100."""
    reliability: tuple[Reliability, ...]
    """Before, the least sure answers first."""


@dataclass(frozen=True)
class BlindPair:
    """Two answers to one example, side by side for a blind judge."""

    id: int
    text: str
    reference: str
    """The right answer, for judges who may see it."""
    left: str
    right: str


@dataclass(frozen=True)
class Judging:
    """Pairs of answers in random order for a judge, and whose they are."""

    first: str
    second: str
    seed: int
    """Decides on which side each one's answer stands."""
    identical: int
    """Rows on which both answer the same: ties that no judge sees."""
    pairs: tuple[BlindPair, ...]


@dataclass(frozen=True)
class Judged:
    """The result of the judges' choices: first against second."""

    first: str
    second: str
    judges: int
    rows: int
    """Judged rows. With several judges, the majority decides a row."""
    wins: int
    losses: int
    ties: int
    identical: int
    """Rows on which both answer the same, which are not judged."""
    preferred: Measure
    """Share of the rows without ties that the first one won, with Wilson's interval."""
    difference: Measure
    """Wins minus losses, as a share of all judged rows, with Bonett and Price's interval."""
    p_value: float
    """Exact sign test, for a number of rows that was fixed beforehand."""
    anytime_p: float
    """p-value of the e-process over the rows in order: valid if judges stop at any time."""
    left: Measure
    """Share of the choices, ties left out, for the left side."""
    position_p: float
    """Exact binomial test of it: small if judges favor a side."""
    agreement: float | None
    """Share of the choices on which two judges of one row agree; None for one judge."""
    kappa: float | None
    """Cohen's kappa of these, the mean over pairs of judges; None where it has no value."""


@dataclass(frozen=True)
class LivingVerdict:
    """The result of a log: first arm minus second."""

    first: str
    second: str
    outcomes: int
    pairs: int
    """Differences that the test uses."""
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    """End of a confidence sequence, which holds at every look simultaneously."""
    p_value: float
    """1 over the largest e-value so far: valid at any time."""
    e_value: float
    decision: Literal["first is better", "second is better", "not decided"]
    decided_at: int | None
    """The pair at which it was decided."""
    standing: Standing


@dataclass(frozen=True)
class Diagnosis:
    """Something that training showed."""

    name: str
    evidence: Wording
    remedy: Wording
    changes: tuple[Mapping[str, object], ...] = ()
    """Settings by dotted path that carry the remedy out in another run, one mapping for each way; empty where it is
    not a matter of settings, and in results of older versions."""


ForgettingDecision = Literal["none", "mild", "severe", "not measured"]


@dataclass(frozen=True)
class Forgotten:
    """One ability of the base model, measured before and after: `change` is tuned minus base."""

    name: Wording
    base: float
    tuned: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Forgetting:
    """What the model lost elsewhere by being tuned here."""

    decision: ForgettingDecision = "not measured"
    reason: Wording = ""
    measured: tuple[Forgotten, ...] = ()


@dataclass(frozen=True)
class Reach:
    """A score at a number of training rows, measured or estimated."""

    rows: int
    score: Measure


@dataclass(frozen=True)
class PowerLaw:
    """A law of learning curves: `1 - score = a * n^-b + c` at n training rows."""

    a: float
    b: float
    c: float


@dataclass(frozen=True)
class Growth:
    """A learning curve, measured and continued."""

    metric: str
    confidence: float
    """Of every interval."""
    now: Reach
    """The score with all rows."""
    target: Reach
    gain: Measure
    """From all rows to the target."""
    law: PowerLaw
    """The power law that fits best; the estimates are those of several laws."""
    measured: tuple[Reach, ...]
    line: tuple[Reach, ...]
    """The estimates from the smallest size to the target."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of a data file."""

    data: str
    task: str
    model: str
    growth: Growth


@dataclass(frozen=True)
class Attempt:
    """A remedy that was tried, measured on the validation rows and on the forgetting probe."""

    remedy: str
    """Its word; empty for the training as it was."""
    changes: Mapping[str, object]
    """Settings by dotted path."""
    score: float
    """The selecting score on the validation rows: higher is better."""
    gain: float
    """Score above that of the weights where training began."""
    forgotten: Forgotten | None
    """The change that decides about forgetting; None where it was not measured."""
    harm: float
    """That change, signed so that more is worse."""
    decision: ForgettingDecision
    seconds: float
    chosen: bool = False


@dataclass(frozen=True)
class RunScore:
    """One run's score on the common rows."""

    run: str
    measure: Measure


@dataclass(frozen=True)
class RunPair:
    """Two runs compared: positive means that the first is better."""

    first: str
    second: str
    comparison: Comparison
    adjusted_p: float
    """By Holm over all pairs that are compared."""
    standing: Standing
    """What the interval says beside the margin."""
    rows_needed: int | None
    """Rows that would show the difference asked for, or else the one observed; None if there is none."""


@dataclass(frozen=True)
class ComparedRuns:
    """Runs on the same rows."""

    metric: str
    higher_is_better: bool
    rows: int
    margin: float
    confidence: float
    scores: tuple[RunScore, ...]
    """The best first."""
    pairs: tuple[RunPair, ...]


@dataclass(frozen=True)
class Fixed:
    """A cleaned copy of a data file: what was written, and what became of the rows."""

    copies: tuple[Path, ...]
    ledger: Path
    used: int
    repaired: int
    dropped: int
    repairs: Mapping[Wording, int]
    """Rows by what was repaired in them."""
    reasons: Mapping[Wording, int]
    """Rows by why they were left out."""
    notes: tuple[Wording, ...] = ()
    """How the copy differs from the source beside its rows."""


@dataclass(frozen=True)
class Resources:
    """Seconds of training, validations included, and the most memory that the process holds."""

    seconds: float
    peak_bytes: int
    updates: int = 0
    """The updates that the seconds are for; training may end before all that were planned."""

    def until(self, updates: int) -> Resources:
        """Return what fewer updates take."""
        return replace(self, seconds=round(self.seconds * updates / self.updates, 3), updates=updates)


@dataclass(frozen=True)
class Proof:
    """That a model loaded again gave the same answers: on how many rows, and how far the scores were apart."""

    rows: int
    largest_difference: float = 0.0


@dataclass(frozen=True)
class Selection:
    """The cost of choosing a prompt on validation rows."""

    ways: int = 0
    """How many were tried; 0 if nothing was chosen."""
    rows: int = 0
    calls: int = 0
    """Rows that the model answered, over all candidates."""
    tokens: int = 0
    """Tokens of the prompts."""
    seconds: float = 0.0
