"""Base of the checks: the examples with what is known beside them, and how findings count, quote and show rows."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Literal, TypeAlias

from kamerton.core.contracts import AuditContext
from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.records import Example, Finding
from kamerton.text.pii import mask
from kamerton.text.tags import read_list

SHOWN = 5
WIDTH = 80
Severity: TypeAlias = Literal["severe", "warning", "note"]


@dataclass(frozen=True)
class Data:
    """All examples, and what is known beside them."""

    examples: Sequence[Example]
    context: AuditContext

    @cached_property
    def texts(self) -> Sequence[str]:
        """The text of each example, read without making the examples, which takes seconds for a million rows."""
        texts = self.context.texts
        return texts if texts is not None else [example.text for example in self.examples]

    @cached_property
    def golds(self) -> Sequence[str]:
        """The right answer of each example, read without making the examples."""
        golds = self.context.golds
        return golds if golds is not None else [example.gold for example in self.examples]

    def at(self, *places: Iterable[int]) -> list[Example]:
        """Return the examples at places, each once, in order."""
        return [self.examples[at] for at in sorted({at for some in places for at in some})]

    def labels_of(self, gold: str) -> list[str]:
        """List the labels of a right answer; none where answers are no labels."""
        if not gold.strip():
            return []
        if self.context.answers == "classes":
            return read_list(gold)
        return [gold] if self.context.stratified else []

    def label_counts(self) -> Counter[str]:
        """Count the rows of each label."""
        counts = Counter[str]()
        for gold, rows in Counter(self.golds).items():
            counts.update(dict.fromkeys(self.labels_of(gold), rows))
        return counts

    def with_labels(self, wanted: Iterable[str]) -> list[Example]:
        """Return the examples that have one of some labels."""
        names = set(wanted)
        return [example for example in self.examples if not names.isdisjoint(self.labels_of(example.gold))]

    def noted(self, name: str) -> tuple[list[Example], list[str]]:
        """Return the examples with a note of their task in a field that lists texts, and all these texts in order."""
        notes = [(example, example.fields.get(name)) for example in self.examples]
        found = [(example, note) for example, note in notes if isinstance(note, list | tuple) and note]
        return [example for example, _ in found], [str(one) for _, note in found for one in note]

    def graded(self, rows: Sized, many: float) -> Severity:
        """Return `warning` where more than a share of the examples is concerned, else `note`."""
        return "warning" if len(rows) > many * len(self.examples) else "note"

    def about(
        self,
        check: str,
        rows: Sequence[Example],
        title: Message | Joined,
        remedy: Wording,
        *,
        severity: Severity | None = None,
        many: float = 0.0,
        drop: bool = False,
        shown: tuple[Wording, ...] = (),
        changes: tuple[Mapping[str, object], ...] = (),
    ) -> Finding | None:
        """Return a finding about rows; None without rows.

        Args:
            check: the name of the check.
            rows: the rows concerned.
            title: gets the values `rows`, their number, and `share`, of all examples.
            remedy: what to do.
            severity: if it does not depend on the number of rows.
            many: the share of the examples above which the finding is a warning; else it is a note.
            drop: whether the rows are dropped.
            shown: samples; the first rows where there are none.
            changes: of settings that carry the remedy out.
        """
        if not rows:
            return None
        ids = tuple(dict.fromkeys(row.id for row in rows))
        if isinstance(title, Message):
            values: dict[str, Value] = {"rows": len(rows), "share": share(rows, self.examples)}
            title = replace(title, values={**values, **title.values})
        severity = severity or self.graded(rows, many)
        return Finding(check, severity, title, remedy, ids, ids if drop else (), shown or samples(rows), changes)


class Check(ABC):
    """One check of the data."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Check all examples; return what was found, or None."""
        return self.find(Data(examples, context))

    @abstractmethod
    def find(self, data: Data) -> Finding | None:
        """Return what is found in the data, or None."""


def share(rows: Sized, examples: Sized) -> Figure:
    """Return the share of the examples that some rows are.

    >>> share(range(14), range(1000)).write(), share(range(1), range(5000)).write()
    ('1.4%', 'below 0.1%')
    """
    return Figure(len(rows) / len(examples), "share")


def counted(numbers: Iterable[tuple[str | Message, int]]) -> list[Message]:
    """Return each name with the number of rows that have it."""
    return [
        msg("{name} {rows}", name=quote(name) if isinstance(name, str) else name, rows=rows) for name, rows in numbers
    ]


def quote(name: str) -> Message:
    """Quote a label or a column.

    >>> str(quote("spam"))
    "'spam'"
    """
    return msg("'{name}'", name=name)


def first_of(parts: Sequence[Message | Joined], shown: int = SHOWN) -> Message | Joined:
    """List the first few of some parts.

    >>> str(first_of([quote("a"), quote("b"), quote("c")], 2))
    "'a', 'b' and 1 more"
    """
    listed = Joined(tuple(parts[:shown]), ", ")
    return msg("{listed} and {count} more", listed=listed, count=len(parts) - shown) if len(parts) > shown else listed


def samples(examples: Iterable[Example]) -> tuple[Message, ...]:
    """Show a few examples, one line each: place, text, gold; private data are masked."""
    return tuple(sample(e, short(e.text)) for e in islice(examples, SHOWN))


def sample(example: Example, text: str) -> Message:
    """Show what an example says, and its gold."""
    return msg("{place}: {text} → {gold}", place=str(example.place), text=text, gold=short(example.gold))


def short(text: str, around: int = 0) -> str:
    """Show the beginning of a text, or what surrounds a position, on one line, masked."""
    start = max(0, around - WIDTH // 2)
    line = ("…" if start else "") + " ".join(mask(text[start : start + 4 * WIDTH]).split())
    return f"'{line[:WIDTH]}…'" if len(line) > WIDTH else f"'{line}'"
