"""Findings: how checks count, quote and show rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import replace
from itertools import islice
from typing import Literal, TypeAlias

from kamerton.core.figures import Figure
from kamerton.core.messages import Joined, Message, Value, Wording, msg
from kamerton.core.records import Example, Finding
from kamerton.text.pii import mask

SHOWN = 5
WIDTH = 80
Severity: TypeAlias = Literal["severe", "warning", "note"]


def about(
    check: str,
    rows: Sequence[Example],
    examples: Sized,
    title: Message | Joined,
    remedy: Wording,
    *,
    severity: Severity | None = None,
    many: float = 0.0,
    drop: bool = False,
    shown: tuple[Wording, ...] = (),
) -> Finding | None:
    """Return a finding about rows; None without rows.

    Args:
        check: the name of the check.
        rows: the rows concerned.
        examples: all that were checked.
        title: gets the values `rows`, their number, and `share`, of all examples.
        remedy: what to do.
        severity: if it does not depend on the number of rows.
        many: the share of the examples above which the finding is a warning; else it is a note.
        drop: whether the rows are dropped.
        shown: samples; the first rows where there are none.
    """
    if not rows:
        return None
    ids = tuple(row.id for row in rows)
    values: dict[str, Value] = {"rows": len(rows), "share": share(rows, examples)}
    return Finding(
        check=check,
        severity=severity or graded(rows, examples, many),
        title=replace(title, values={**values, **title.values}) if isinstance(title, Message) else title,
        remedy=remedy,
        rows=ids,
        drop=ids if drop else (),
        samples=shown or samples(rows),
    )


def graded(rows: Sized, examples: Sized, many: float) -> Severity:
    """Return `warning` where more than a share of the examples is concerned, else `note`."""
    return "warning" if len(rows) > many * len(examples) else "note"


def share(rows: Sized, examples: Sized) -> Figure:
    """Return the share of the examples that some rows are.

    >>> share(range(14), range(1000)).write(), share(range(1), range(5000)).write()
    ('1.4%', 'below 0.1%')
    """
    return Figure(len(rows) / len(examples), "share")


def noted(examples: Sequence[Example], name: str) -> tuple[list[Example], list[str]]:
    """Return the examples with a note of their task in a field that lists texts, and all these texts in order."""
    notes = [(example, example.fields.get(name)) for example in examples]
    found = [(example, note) for example, note in notes if isinstance(note, list | tuple) and note]
    return [example for example, _ in found], [str(one) for _, note in found for one in note]


def counted(name: str | Message, rows: int) -> Message:
    """Return a name and how many rows have it."""
    return msg("{name} {rows}", name=name if isinstance(name, Message) else quote(name), rows=rows)


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
