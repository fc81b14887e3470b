"""What the report shows of a run's files: confusions, examples side by side, the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from sacrebleu.metrics import CHRF

from kamerton.core.messages import Wording
from kamerton.core.outcomes import Answers
from kamerton.core.records import Example, Fate, LedgerEntry, Split
from kamerton.runs.recipe import Recipe, Setting
from kamerton.runs.run import PARTS

MOST_CLASSES = 30
LONGEST_CLASS = 60
SHOWN = 12
"""Examples side by side: half of them better, half worse, if there are so many."""
COMPARED = 2000
"""Different answers that are compared with the right one; sentence chrF takes about half a millisecond each."""
MOST_REASONS = 12

# ── classes ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ConfusionRow:
    """How the rows of one class were answered, by column."""

    label: str
    counts: tuple[int, ...]
    total: int
    """All test rows of the class: more than the counts add up to if some answers are no class."""
    recall: float


@dataclass(frozen=True)
class Confusion:
    """Right classes by row, answers by column."""

    columns: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]
    precision: tuple[float | None, ...]
    """Of each column: None where the class was never answered."""
    other: int
    """Answers that are none of the classes; they count in no column."""


def classes(golds: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct right answers if they are classes: few, short, and each occurs twice or more on average."""
    distinct = sorted(set(golds))
    short = all(len(gold) <= LONGEST_CLASS for gold in distinct)
    return tuple(distinct) if short and len(distinct) <= min(MOST_CLASSES, len(golds) // 2) else ()


def confusion(labels: Sequence[str], golds: Sequence[str], answers: Sequence[str]) -> Confusion:
    """Count the answers to each class."""
    cells = Counter(zip(golds, answers, strict=True))
    support, answered = Counter(golds), Counter(answers)
    rows = tuple(
        ConfusionRow(
            gold, tuple(cells[gold, label] for label in labels), support[gold], cells[gold, gold] / support[gold]
        )
        for gold in labels
    )
    precision = tuple(cells[label, label] / answered[label] if answered[label] else None for label in labels)
    return Confusion(
        tuple(labels), rows, precision, sum(answered[answer] for answer in answered if answer not in labels)
    )


# ── examples side by side ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Contrast:
    """One test row on which the tuned model and the other contender differ."""

    example: Example
    tuned: str
    other: str
    change: float
    """How much nearer the tuned model's answer is to the right one, -1 to 1."""


@dataclass(frozen=True)
class Contrasts:
    """The rows where the difference is largest, either way."""

    other: str
    """The name of the other contender."""
    differing: int
    rows: tuple[Contrast, ...]


def contrasts(examples: Sequence[Example], tuned: Answers, other: Answers, *, labels: Sequence[str]) -> Contrasts:
    """Choose the test rows that the tuned model answers better and worse than the other contender.

    Nearness to the right answer is equality for classes, else sentence chrF (Popović 2015).
    """
    nearness = _equal if labels else _chrf
    differing = [
        (example, ours.text, theirs.text)
        for example, ours, theirs in zip(examples, tuned.predictions, other.predictions, strict=True)
        if ours.text.strip() != theirs.text.strip()
    ]
    compared = [_contrast(nearness, *triple) for triple in differing[:COMPARED]]
    ordered = sorted((row for row in compared if row.change), key=lambda row: -row.change)
    better, worse = [row for row in ordered if row.change > 0], [row for row in ordered if row.change < 0]
    room = max(SHOWN // 2, SHOWN - len(worse))
    shown = better[:room]
    return Contrasts(other.name, len(differing), (*shown, *reversed(worse[len(shown) - SHOWN :])))


def _contrast(nearness: Callable[[str, str], float], example: Example, tuned: str, other: str) -> Contrast:
    change = nearness(tuned, example.gold) - nearness(other, example.gold)
    return Contrast(example, tuned, other, change)


def _equal(answer: str, gold: str) -> float:
    return float(answer == gold)


def _chrf(answer: str, gold: str) -> float:
    score: float = CHRF().sentence_score(answer, [gold]).score
    return score / 100


# ── data ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ClassCount:
    """How many rows of one class each part of the split holds."""

    label: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class LedgerCount:
    """How many rows met one fate for one reason."""

    fate: Fate
    reason: Wording
    rows: int


def class_counts(split: Split, labels: Sequence[str]) -> tuple[ClassCount, ...]:
    """Count the classes in each part of the split."""
    train, validation, test = (
        Counter(example.gold for example in part) for part in (split.train, split.validation, split.test)
    )
    return tuple(ClassCount(label, train[label], validation[label], test[label]) for label in labels)


def losses(ledger: Sequence[LedgerEntry]) -> tuple[LedgerCount, ...]:
    """Count why rows were dropped or cut, the commonest first; rare reasons beyond a dozen are added up."""
    counted = Counter((entry.fate, entry.reason) for entry in ledger if entry.fate not in PARTS)
    shown = [LedgerCount(fate, reason, rows) for (fate, reason), rows in counted.most_common(MOST_REASONS)]
    left = Counter[Fate]()
    for (fate, _), rows in counted.most_common()[MOST_REASONS:]:
        left[fate] += rows
    return (*shown, *(LedgerCount(fate, "", rows) for fate, rows in left.items()))


# ── the rest ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Explained:
    """A setting and its description."""

    setting: Setting
    meaning: str
    """Empty for a method's own knobs, which only the method can explain."""


def explained(recipe: Recipe) -> tuple[Explained, ...]:
    """Return the settings of a recipe, each with its description."""
    groups = {"": type(recipe)} | {group: type(value) for group, value in recipe if isinstance(value, BaseModel)}
    meanings = {
        f"{group}.{name}".strip("."): field.description or ""
        for group, model in groups.items()
        for name, field in model.model_fields.items()
    }
    return tuple(Explained(setting, meanings.get(setting.path, "")) for setting in recipe.settings())


@dataclass(frozen=True)
class Fact:
    """A name and its value, for a table."""

    name: str
    value: str


def facts(values: Mapping[str, object], prefix: str = "") -> Iterator[Fact]:
    """Flatten nested values to dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from facts(value, f"{prefix}{key}.")
        else:
            yield Fact(f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value))
