"""The values that cross a stage's border: plain, frozen, without torch.

The order is that of the story: read, made examples, encoded, trained on, predicted, scored, compared, judged.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from kamerton.core.messages import Wording

# ── data ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in its source."""

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


Fate = Literal["train", "validation", "test", "added", "used", "dropped", "cut", "repaired"]


@dataclass(frozen=True)
class LedgerEntry:
    """What became of one source row: its part, in a cleaned copy `used` or `repaired`; `cut` comes beside a part."""

    id: int
    place: Place
    fate: Fate
    reason: Wording


@dataclass(frozen=True)
class Finding:
    """What one audit check saw."""

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


@dataclass(frozen=True)
class Split:
    """The three frozen parts of the data."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    added: tuple[Example, ...] = ()
    """Rows beside the user's own that are trained on only: general data mixed in, variants of training rows."""


# ── what the model gets, and gives ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Encoded:
    """One sequence: its tokens, the positions whose output is read, and what should be read there.

    Every supervision has this one shape. A text's class is read at one position (the first of an
    encoder, the last of a decoder); an answer's tokens are read each at the position before it.
    """

    tokens: tuple[int, ...]
    output_positions: tuple[int, ...]
    targets: tuple[int, ...]
    """Class indices or token ids, one for each output position; a form's `losses` interprets them."""
    cut: int = 0
    """How many tokens did not fit and were cut away."""
    weight: float = 1.0
    """How much the row counts in the loss, beside others."""
    number: float = 0.0
    """A number that the loss needs beside the targets: a gold value, the untuned model's likelihood."""
    extra: tuple[Encoded, ...] = ()
    """Other sequences of the same row, which the loss needs beside this one: a rejected answer, further windows."""
    segments: tuple[int, ...] = ()
    """Each token's type, where the model tells the two texts of a pair apart by it; empty if all are 0."""
    fault: Wording = ""
    """Why the row cannot be written for the model; then there are no tokens."""

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        """All sequences of the row, this one first."""
        return (self, *self.extra)

    def excerpt(self, longest: int) -> Encoded:
        """Give this one sequence cut down to so many tokens around its first output position."""
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
    """What training looks at in one sequence, for a reader."""

    positions: tuple[int, ...]
    """The tokens of the sequence that are marked: an answer's, or the one that a class is read at."""
    words: tuple[Wording, ...]
    """What is taught: class names, or the answer's text."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; what the assistant may call stands before it, as a message of the role `tools`."""

    role: Literal["system", "user", "assistant", "tool", "tools"]
    content: str
    reasoning: str = ""
    """What the assistant thinks before it answers, where the data hold it apart."""
    calls: str = ""
    """The assistant's calls of functions: a JSON list in OpenAI's shape; empty if there are none."""
    call: str = ""
    """The id of the call that a tool's turn is the result of."""
    name: str = ""
    """The name of the function that a tool's turn is the result of."""
    taught: bool = True
    """Whether the data let a turn of the assistant be learned."""

    @property
    def empty(self) -> bool:
        """Whether nothing is said: learned from it, a model would stop at once."""
        return not (self.content.strip() or self.calls)


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
    each: tuple[float, ...] | None = None
    """Of every label by itself, in the form's order, where any number of them may be right."""
    cut: int = 0
    """How many tokens of the input the model never saw, for they did not fit."""
    wanted: bool | None = None
    """Whether people wanted the answer, where one was given to be judged: `score` is the mean chance of its tokens."""


@dataclass(frozen=True)
class TokenView:
    """One token as a reader sees it."""

    token: str
    trained: bool
    """Whether the loss looks at it: an answer's token, or the one a class is read at."""


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
    """One example as the model gets it, to be looked at."""

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
    reason: Wording
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
