"""The values that cross a stage's border: plain, frozen, without torch.

The order is that of the story: read, made examples, encoded, trained on, predicted, scored, compared, judged.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# ── data ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in its source: the file and the line (from 1), or the row number in Parquet."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source file as it was read, before any task looks at it."""

    id: int
    """Position in the source, from 0; the same row keeps its id through the whole run."""
    place: Place
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Example:
    """One row as a task understands it."""

    id: int
    place: Place
    text: str
    """Everything the model is given, as plain text: what audits, splits and classic baselines read."""
    gold: str
    """The right answer, as plain text: a label's name, a reference answer."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """The task's roles and their values (`instruction`, `input`, ...), from which prompts are made."""
    group: str = ""
    """What the row belongs to (a document, a user), where rows that belong together are not independent."""
    _key: str = field(default="", init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """Hash of the normalised text: equal for rows that differ only in case, spaces or Unicode form."""
        if not self._key:
            normal = " ".join(unicodedata.normalize("NFKC", self.text).casefold().split())
            self.remember(hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())
        return self._key

    def remember(self, key: str) -> Example:
        """Keep a key that was worked out before; return the same example."""
        object.__setattr__(self, "_key", key)
        return self


Fate = Literal["train", "validation", "test", "used", "dropped", "cut", "repaired"]


@dataclass(frozen=True)
class LedgerEntry:
    """What became of one source row: its part, in a cleaned copy `used` or `repaired`; `cut` comes beside a part."""

    id: int
    place: Place
    fate: Fate
    reason: str


@dataclass(frozen=True)
class Finding:
    """What one audit check saw."""

    check: str
    severity: Literal["severe", "warning", "note"]
    title: str
    """The finding in one sentence, with its number: `14 rows have the same text and different labels`."""
    remedy: str
    rows: tuple[int, ...] = ()
    """Ids of the rows concerned."""
    drop: tuple[int, ...] = ()
    """Ids of the rows that cannot be trained on and are dropped before the split; a part of `rows`."""
    samples: tuple[str, ...] = ()
    """A few lines to show, each with its place."""


@dataclass(frozen=True)
class Split:
    """The three frozen parts of the data."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


# ── what the model gets, and gives ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Encoded:
    """One sequence: its tokens, the positions whose output is read, and what should be read there.

    Every supervision has this one shape. A text's class is read at one position (the first of an
    encoder, the last of a decoder); an answer's tokens are read each at the position before it.
    """

    tokens: tuple[int, ...]
    reads: tuple[int, ...]
    targets: tuple[int, ...]
    """As many as `reads`: class indices or token ids; what a form makes of them is its own `losses`' business."""
    cut: int = 0
    """How many tokens did not fit and were cut away."""
    weight: float = 1.0
    """How much the row counts in the loss, beside others."""
    number: float = 0.0
    """A number that the loss needs beside the targets: a gold value, the untuned model's likelihood."""
    rivals: tuple[Encoded, ...] = ()
    """Other sequences of the same row, which the loss needs beside this one: a rejected answer, further windows."""
    segments: tuple[int, ...] = ()
    """Each token's type, where the model tells the two texts of a pair apart by it; empty if all are 0."""

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        """All sequences of the row, this one first."""
        return (self, *self.rivals)


@dataclass(frozen=True)
class Taught:
    """What training looks at in one sequence, for a reader."""

    positions: tuple[int, ...]
    """The tokens of the sequence that are marked: an answer's, or the one that a class is read at."""
    words: tuple[str, ...]
    """What is taught: class names, or the answer's tokens."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True)
class Prediction:
    """What a contender answers to one example."""

    id: int
    text: str
    """The answer: a label's name, a generated text."""
    score: float | None = None
    """The contender's own probability of its answer, 0 to 1, where it has one."""
    loss: float | None = None
    """Negative log-likelihood of the gold answer in nats, summed over its tokens."""
    tokens: int | None = None
    """How many tokens `loss` sums over."""
    passed: float | None = None
    """Estimated chance that a written program passes its tests, where they were run."""
    probabilities: tuple[float, ...] | None = None
    """Of every class, in the form's order, where it chooses among classes."""


@dataclass(frozen=True)
class TokenView:
    """One token as a reader sees it."""

    token: str
    trained: bool
    """Whether the loss looks at it: an answer's token, or the one a class is read at."""


@dataclass(frozen=True)
class ExampleView:
    """One example as the model gets it, to be looked at."""

    place: Place
    title: str
    tokens: tuple[TokenView, ...]
    targets: tuple[str, ...]
    """What is taught: class names, or the answer's tokens."""
    cut: int
    """How many tokens did not fit."""
    warnings: tuple[str, ...] = ()


# ── training ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Started:
    """Training begins or goes on."""

    step: int
    steps: int
    trainable_parameters: int
    parameters: int
    layout: str
    """How rows are laid out for the model: `flat` (no padding) or `padded`, with the reason."""


@dataclass(frozen=True)
class Stepped:
    """One update of the weights."""

    step: int
    epoch: float
    loss: float
    """Mean over the supervised positions of the whole update, in nats."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Validated:
    """The validation rows were scored."""

    step: int
    epoch: float
    loss: float
    metrics: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and verified."""

    step: int
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """Training ended. `best_step` is the step whose weights are kept."""

    step: int
    best_step: int
    reason: str
    weight_change: float
    """Relative change of the trainable weights: norm of (now - start) over norm of start."""


@dataclass(frozen=True)
class RowDynamics:
    """What training saw of one row over the epochs (Swayamdipta et al., Dataset Cartography, EMNLP 2020)."""

    id: int
    visits: int
    confidence: float
    """Mean probability of the right answer (geometric over its tokens), as the row was met in training."""
    variability: float
    """Standard deviation of that probability."""
    correctness: float
    """Share of the visits at which the right answer was more probable than all others together."""


Event = Started | Stepped | Validated | Saved | Stopped

# ── the story as it is told ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Stage:
    """A stage of the story is done: `audit`, and what came of it in one line."""

    name: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a long stage is."""

    stage: str
    done: int
    total: int


# ── the outcome ───────────────────────────────────────────────────────────────────────────────


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


@dataclass(frozen=True)
class Contender:
    """One contender's scores on the test set."""

    name: str
    kind: ContenderKind
    metrics: Mapping[str, Measure]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two contenders on the same rows: first minus second."""

    difference: float
    low: float
    high: float
    p_value: float
    minimum_detectable: float
    """The smallest true difference that this many rows would show with 80% power at the 5% level."""


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
    reason: str
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

    @property
    def message(self) -> str:
        """Say it in one line."""
        sure = "too sure" if self.temperature > 1 else "not sure enough"
        errors = f"calibration error {self.before.ece.value:.3f} → {self.after.ece.value:.3f}"
        chance = f"true probabilities would show up to {self.chance:.3f}"
        return (
            f"temperature {self.temperature:.2f}, for it was {sure} on {self.rows} validation rows: {errors}; {chance}"
        )


@dataclass(frozen=True)
class BlindPair:
    """Two answers to one example, side by side for a judge who does not know whose is which."""

    id: int
    text: str
    reference: str
    """The right answer, for judges who may see it."""
    left: str
    right: str


@dataclass(frozen=True)
class Judging:
    """What a judge is asked: pairs of answers in random order, and whose they are."""

    first: str
    second: str
    seed: int
    """Decides on which side each one's answer stands."""
    identical: int
    """Rows on which both answer the same: they are ties, and nobody is asked."""
    pairs: tuple[BlindPair, ...]


@dataclass(frozen=True)
class Diagnosis:
    """Something that training showed, in words."""

    name: str
    evidence: str
    remedy: str


# ── what was forgotten ────────────────────────────────────────────────────────────────────────

ForgettingDecision = Literal["none", "mild", "severe", "not measured"]


@dataclass(frozen=True)
class Forgotten:
    """One thing the base model could do, measured before and after: `change` is tuned minus base."""

    name: str
    base: float
    tuned: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Forgetting:
    """What the model lost elsewhere by being tuned here."""

    decision: ForgettingDecision = "not measured"
    reason: str = ""
    measured: tuple[Forgotten, ...] = ()


# ── how much more data ────────────────────────────────────────────────────────────────────────


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
    """What all rows that there are would give."""
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
    """A remedy that was carried out and measured: on the validation rows and on the forgetting probe."""

    remedy: str
    """Its word; empty for the training as it was."""
    changes: Mapping[str, object]
    """Settings by dotted path."""
    score: float
    """What selects checkpoints, on the validation rows: higher is better."""
    gain: float
    """Score above that of the weights where training began."""
    forgotten: Forgotten | None
    """The change that the decision about forgetting goes by; None where it was not measured."""
    harm: float
    """That change, signed so that more is worse."""
    decision: ForgettingDecision
    seconds: float
    chosen: bool = False
