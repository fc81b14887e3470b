"""What the report shows of a run's files: confusions, examples side by side, training dynamics, the ledger, speed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from sacrebleu.metrics import CHRF

from kamerton.core.messages import Wording
from kamerton.core.outcomes import Answers, Contender
from kamerton.core.records import Example, RowDynamics
from kamerton.report.charts import Scale, scale
from kamerton.report.outcome import Outcome
from kamerton.runs.columns import RunTables
from kamerton.runs.recipe import Recipe, Setting
from kamerton.runs.run import PARTS

MOST_CLASSES = 30
LONGEST_CLASS = 60
SHOWN = 12
"""Examples side by side: half of them better, half worse, if there are so many."""
COMPARED = 2000
"""Different answers that are compared with the right one; sentence chrF takes about half a millisecond each."""
MOST_REASONS = 12
MOST_DOTS = 400
"""More dots than this hide each other."""
EXTREME_ROWS = 4


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
    counts = {gold: tuple(cells[gold, label] for label in labels) for gold in labels}
    rows = tuple(ConfusionRow(one, counts[one], support[one], cells[one, one] / support[one]) for one in labels)
    precision = tuple(cells[label, label] / answered[label] if answered[label] else None for label in labels)
    return Confusion(tuple(labels), rows, precision, sum(answer not in labels for answer in answers))


@dataclass(frozen=True)
class Contrast:
    """One test row on which the tuned model and the other contender differ."""

    example: Example
    tuned: str
    other: str
    change: float
    """How much nearer the tuned model's answer is to the right one, -1 to 1."""


def contrasts(
    examples: Sequence[Example], tuned: Answers, other: Answers, *, labels: Sequence[str]
) -> tuple[int, list[Contrast]]:
    """Count the test rows on which the tuned model and another contender differ; choose the largest differences.

    Nearness to the right answer is equality for classes, else sentence chrF (Popović 2015).
    """
    differing = [
        (example, ours.text, theirs.text)
        for example, ours, theirs in zip(examples, tuned.predictions, other.predictions, strict=True)
        if ours.text.strip() != theirs.text.strip()
    ]

    def nearness(answer: str, gold: str) -> float:
        return float(answer == gold if labels else CHRF().sentence_score(answer, [gold]).score / 100)

    compared = [
        Contrast(example, ours, theirs, nearness(ours, example.gold) - nearness(theirs, example.gold))
        for example, ours, theirs in differing[:COMPARED]
    ]
    ordered = sorted((row for row in compared if row.change), key=lambda row: -row.change)
    better, worse = [row for row in ordered if row.change > 0], [row for row in ordered if row.change < 0]
    shown = better[: max(SHOWN // 2, SHOWN - len(worse))]
    return len(differing), [*shown, *reversed(worse[len(shown) - SHOWN :])]


@dataclass(frozen=True)
class Terrain:
    """The map of the training rows (Swayamdipta et al., Dataset Cartography, EMNLP 2020)."""

    dots: tuple[RowDynamics, ...]
    spreads: Scale
    counts: Mapping[str, int]
    """The number of rows of each kind."""
    hardest: tuple[tuple[Example, RowDynamics], ...]
    variable: tuple[tuple[Example, RowDynamics], ...]


def terrain(tables: RunTables) -> Terrain | None:
    """Lay out the map; None where no dynamics were recorded, or no row was visited twice."""
    rows = tables.dynamics
    if max((row.visits for row in rows), default=0) < 2:
        return None
    train = set(tables.part("train").values("id"))  # dynamics are of added rows as well
    known = [row for row in rows if row.id in train]
    hard = sorted((row for row in known if row.kind == "hard"), key=lambda row: row.confidence)[:EXTREME_ROWS]
    mixed = sorted((row for row in known if row.kind == "ambiguous"), key=lambda row: -row.variability)[:EXTREME_ROWS]
    examples = {example.id: example for example in tables.examples("train", [row.id for row in (*hard, *mixed)])}
    return Terrain(
        tuple(rows[:: max(1, len(rows) // MOST_DOTS)]),
        scale(0, max(row.variability for row in rows) or 0.1, 4),
        Counter(row.kind for row in rows),
        tuple((examples[row.id], row) for row in hard),
        tuple((examples[row.id], row) for row in mixed),
    )


def losses(fates: Mapping[tuple[str, Wording], int]) -> list[tuple[str, Wording, int]]:
    """Return why rows were dropped or cut, the commonest first; rare reasons beyond a dozen are added up."""
    counted = Counter({why: rows for why, rows in fates.items() if why[0] not in PARTS}).most_common()
    left = Counter[str]()
    for (fate, _), rows in counted[MOST_REASONS:]:
        left[fate] += rows
    shown = [(fate, reason, rows) for (fate, reason), rows in counted[:MOST_REASONS]]
    return [*shown, *((fate, "", rows) for fate, rows in left.items())]


def explained(recipe: Recipe) -> list[tuple[Setting, str]]:
    """Return the settings of a recipe and their descriptions; a method's own knobs have empty ones."""
    groups = {"": type(recipe)} | {group: type(value) for group, value in recipe if isinstance(value, BaseModel)}
    meanings = {
        f"{group}.{name}".strip("."): field.description or ""
        for group, model in groups.items()
        for name, field in model.model_fields.items()
    }
    return [(setting, meanings.get(setting.path, "")) for setting in recipe.settings()]


def facts(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested values to dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from facts(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def per_thousand(contender: Contender, outcome: Outcome) -> float:
    """Return a contender's seconds for 1,000 rows."""
    return 1000 * contender.seconds / max(1, outcome.data.test)


def regained(outcome: Outcome) -> int | None:
    """Return after how many rows a faster tuned model has saved the time of the run; None if it is slower."""
    other = next((one for one in outcome.contenders if one.name == outcome.verdict.against), outcome.tuned)
    saved = (per_thousand(other, outcome) - per_thousand(outcome.tuned, outcome)) / 1000
    return round(sum(outcome.seconds.values()) / saved) if saved > 0 else None
