"""How checks word their numbers and show their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from kamerton.core.records import Example
from kamerton.text.pii import mask

SHOWN = 5
WIDTH = 80


def ids(examples: Iterable[Example]) -> tuple[int, ...]:
    """Collect the examples' ids."""
    return tuple(example.id for example in examples)


def noted(example: Example, name: str) -> list[str]:
    """Return what a task noted of a row in a field that lists texts; nothing if it has no such field."""
    value = example.fields.get(name)
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def count(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun.

    >>> count(1, "row"), count(2500, "row"), count(2, "class", "classes")
    ('1 row', '2,500 rows', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share(part: int, whole: int) -> str:
    """Write a share in per cent.

    >>> share(14, 1000), share(1, 5000)
    ('1.4%', 'below 0.1%')
    """
    percent = 100 * part / whole
    return f"{percent:.1f}%" if percent >= 0.05 else "below 0.1%"


def some(names: Sequence[str], shown: int = SHOWN) -> str:
    """List the first few names.

    >>> some(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{name}'" for name in names[:shown]) + more


def samples(examples: Iterable[Example]) -> tuple[str, ...]:
    """Show a few examples, one line each: place, text, gold; what is private is masked."""
    return tuple(f"{e.place}: {short(e.text)} → {short(e.gold)}" for e in islice(examples, SHOWN))


def short(text: str, around: int = 0) -> str:
    """Show the beginning of a text, or what stands around a position, on one line, masked."""
    start = max(0, around - WIDTH // 2)
    line = ("…" if start else "") + " ".join(mask(text[start : start + 4 * WIDTH]).split())
    return f"'{line[:WIDTH]}…'" if len(line) > WIDTH else f"'{line}'"
