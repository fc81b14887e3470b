"""The values that cross a stage's border: plain, frozen, without torch.

The order is that of the story: read, made examples, encoded, trained on, predicted, scored, compared, judged.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from kamerton.core.messages import Wording

# ── data ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is in its source."""

    file: str
    line: int
    """The line, or the number of the row in Parquet, from 1. Below 0: minus the number of the item in a JSON file
    whose rows are all on one line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line >= 0 else f"{self.file} item {-self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source file as it was read, before any task looks at it."""

    id: int
    """Position in the source, from 0; constant through the whole run."""
    place: Place
    values: Mapping[str, object]


BETWEEN = "\n\n"
"""What stands between the answers of one example where they are written as one text."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as a task reads it."""

    id: int
    place: Place
    text: str
    """The whole input as plain text, for audits, splits and classic baselines."""
    gold: str
    """The right answer, as plain text: a label's name, a reference answer."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """The task's roles and their values (`instruction`, `input`, ...), from which prompts are made."""
    group: str = ""
    """What the row belongs to (a document, a user): rows of one group are not independent."""
    _key: str = field(default="", init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """Hash of the normalized text: equal for rows that differ only in case, spaces or Unicode form."""
        if not self._key:
            normal = " ".join(unicodedata.normalize("NFKC", self.text).casefold().split())
            self.remember(hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest())
        return self._key

    def remember(self, key: str) -> Example:
        """Set a key that was computed before; return the same example."""
        object.__setattr__(self, "_key", key)
        return self


ExampleSeq = Sequence[Example]
Fate = Literal["train", "validation", "test", "added", "used", "dropped", "cut", "repaired"]


@dataclass(frozen=True)
class LedgerEntry:
    """What became of one source row: its part, `used` or `repaired` in a cleaned copy; `cut` comes in addition."""

    id: int
    place: Place
    fate: Fate
    reason: Wording


@dataclass(frozen=True)
class Finding:
    """What one audit check found."""

    check: str
    severity: Literal["severe", "warning", "note"]
    title: Wording
    """The finding in one sentence, with its number: `14 rows have the same text and different labels`."""
    remedy: Wording
    rows: tuple[int, ...] = ()
    """Ids of the rows concerned."""
    drop: tuple[int, ...] = ()
    """Ids of the rows that cannot be trained on and are dropped before the split; a part of `rows`."""
    samples: tuple[Wording, ...] = ()
    """A few lines to show, each with its place."""
    changes: tuple[Mapping[str, object], ...] = ()
    """Settings by dotted path that carry the remedy out, one mapping for each way; empty where the rows must change."""


@dataclass(frozen=True)
class Split:
    """The three frozen parts of the data."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    added: tuple[Example, ...] = ()
    """Further training rows: general data, variants of training rows."""

    @property
    def typical(self) -> tuple[Example, ...]:
        """The rows that say what answers look like: those of training, or the test rows where there are none."""
        return self.train or self.test


# ── what the model gets, and gives ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Encoded:
    """One sequence: its tokens, its output positions, and the targets there.

    A text's class is predicted at one position (the first of an encoder, the last of a decoder), each token of an
    answer at the position before it.
    """

    tokens: tuple[int, ...]
    output_positions: tuple[int, ...]
    targets: tuple[int, ...]
    """Class indices or token ids, one for each output position; a form's `losses` interprets them."""
    cut: int = 0
    """How many tokens did not fit."""
    weight: float = 1.0
    """Weight of the row in the loss."""
    number: float = 0.0
    """A number that the loss needs beside the targets: a gold value, the untuned model's likelihood."""
    extra: tuple[Encoded, ...] = ()
    """Extra sequences of the row: a rejected answer, further windows."""
    segments: tuple[int, ...] = ()
    """Token type ids, where the model has them; empty if all are 0."""
    fault: Wording = ""
    """Why the row cannot be encoded; then there are no tokens."""

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        """All sequences of the row, this one first."""
        return (self, *self.extra)

    def excerpt(self, longest: int) -> Encoded:
        """Return this sequence alone, cut to so many tokens around its first output position."""
        first = max(0, min(self.output_positions[0], len(self.tokens)) - longest // 2) if self.output_positions else 0
        window = slice(first, first + longest)
        left = [i for i, read in enumerate(self.output_positions) if first <= read < first + longest]
        return replace(
            self,
            tokens=self.tokens[window],
            segments=self.segments[window],
            output_positions=tuple(self.output_positions[i] - first for i in left),
            targets=tuple(self.targets[i] for i in left),
            extra=(),
        )


@dataclass(frozen=True)
class Taught:
    """What one sequence teaches, for a reader."""

    positions: tuple[int, ...]
    """Tokens to mark: an answer's, or the output position of a class."""
    words: tuple[Wording, ...]
    """What is taught: class names, or the answer's text."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; descriptions of tools come first, in a turn of the role `tools`."""

    role: Literal["system", "user", "assistant", "tool", "tools"]
    content: str
    reasoning: str = ""
    """The assistant's reasoning before its answer, where the data separate them."""
    calls: str = ""
    """The assistant's tool calls: a JSON list in OpenAI's shape, or empty."""
    call: str = ""
    """The id of the call that a tool's turn is the result of."""
    name: str = ""
    """The name of the function that a tool's turn is the result of."""
    taught: bool = True
    """Whether a turn of the assistant may be trained on."""

    @property
    def empty(self) -> bool:
        """Whether it has no text and no calls: trained on it, a model would stop at once."""
        return not (self.content.strip() or self.calls)


@dataclass(frozen=True)
class Prediction:
    """A contender's answer to one example."""

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
    """Of each class, in the form's order."""
    each: tuple[float, ...] | None = None
    """Of each label on its own, in the form's order, for multi-label tasks."""
    cut: int = 0
    """How many tokens of the input did not fit."""
    wanted: bool | None = None
    """Whether people wanted a given answer: `score` is the mean probability of its tokens."""


@dataclass(frozen=True)
class TokenView:
    """One token as a reader sees it."""

    token: str
    trained: bool
    """Whether the loss uses it: an answer's token, or the output position of a class."""


@dataclass(frozen=True)
class SequenceView:
    """One of the several sequences of an example: a window, an answer."""

    title: Wording
    size: int
    """How many tokens it has."""
    ends: str
    """The words that it begins and ends with."""
    tokens: tuple[TokenView, ...] = ()
    """Empty for the first, which the example itself shows, and where there are too many to draw."""
    targets: tuple[Wording, ...] = ()
    """What it teaches; empty for the first."""


@dataclass(frozen=True)
class ExampleView:
    """One example as the model gets it."""

    place: Place
    title: Wording
    tokens: tuple[TokenView, ...]
    targets: tuple[Wording, ...]
    """What is taught: class names, or the answer's text."""
    cut: int
    """How many tokens did not fit."""
    warnings: tuple[Wording, ...] = ()
    sequences: tuple[SequenceView, ...] = ()
    """All of them, where there are several."""


# ── training ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Started:
    """Training begins or goes on."""

    step: int
    steps: int
    trainable_parameters: int
    parameters: int
    layout: Wording
    """How rows are arranged for the model: `packed` (no padding) or `padded`, with the reason."""


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
class SampleAnswer:
    """The model's present answer to one validation row: the same few rows are shown at every validation."""

    id: int
    """Of the row."""
    text: str
    """The beginning of its input."""
    gold: str
    answer: str
    probability: float = math.nan
    """The model's own of its answer, where it has one."""


@dataclass(frozen=True)
class Validated:
    """The validation rows were scored."""

    step: int
    epoch: float
    loss: float
    metrics: Mapping[str, float]
    best: bool
    samples: tuple[SampleAnswer, ...] = ()
    """Empty where the task has no answers of the model, only likelihoods."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and verified."""

    step: int
    seconds: float


@dataclass(frozen=True)
class Halved:
    """Memory ran out in an update, which is made again in passes of half the size, as are all after it."""

    step: int
    tokens_per_pass: int


@dataclass(frozen=True)
class Overflowed:
    """Gradients in fp16 overflowed: the update was skipped, and losses are multiplied by `scale` from now on."""

    step: int
    scale: float


@dataclass(frozen=True)
class Stopped:
    """Training ended. `best_step` is the step whose weights are kept."""

    step: int
    best_step: int
    reason: Wording
    weight_change: float
    """Relative change of the trainable weights: norm of (now - start) over norm of start."""
    asked: bool = False
    """Whether a person asked to end training here."""


@dataclass(frozen=True)
class RowDynamics:
    """Training dynamics of one row (Swayamdipta et al., Dataset Cartography, EMNLP 2020)."""

    id: int
    visits: int
    confidence: float
    """Mean probability of the right answer (geometric over its tokens) over its visits in training."""
    variability: float
    """Standard deviation of that probability."""
    correctness: float
    """Share of the visits at which the right answer was more probable than all others together."""

    @property
    def kind(self) -> Literal["easy", "ambiguous", "hard"]:
        """Whether the row was answered correctly at every visit, at some, or at none."""
        return "easy" if self.correctness == 1 else "hard" if self.correctness == 0 else "ambiguous"


Event = Started | Stepped | Validated | Saved | Halved | Overflowed | Stopped


@dataclass(frozen=True)
class Stage:
    """A stage of the story is done: `audit`, and what came of it in one line."""

    name: str
    message: Wording
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a long stage is."""

    stage: Wording
    done: int
    total: int
    unit: Literal["", "rows", "steps"] = ""
    """What is counted."""


RunEvent: TypeAlias = Stage | Progress | Event
"""What a run yields: the caller renders or ignores it."""
