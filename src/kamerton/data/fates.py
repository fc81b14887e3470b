"""How many rows went where and why, in one line; and the classes that hardly any row is left of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from kamerton.core import registry
from kamerton.core.contracts import AnswerKind
from kamerton.core.records import Example, Finding, LedgerEntry
from kamerton.text.tags import kind_of, read_list

REASONS = 4
"""Most reasons that are told one by one."""
LONGEST = 120
"""Characters of a reason that are told."""
NUMBERS, QUOTED = re.compile(r"\d+"), re.compile(r"'[^']*'|\"[^\"]*\"")
NEARLY = 0.1
"""Share of its rows below which a class counts as lost: what is left is no sample of it."""
FEWEST = 10
"""Rows of a class from which on a share says something; of fewer, all must be gone."""
LISTED = 3


def used_line(rows: int, left_out: Sequence[LedgerEntry], cut: Sequence[LedgerEntry] = ()) -> str:
    """Return how many rows are used, and why the others are not; an empty string if all are, whole.

    >>> used_line(9, [])
    ''

    Args:
        rows: how many there are.
        left_out: what the ledger says of those that are not used.
        cut: what it says of those that are used and lost a part.
    """
    parts = [*_reasons(left_out)]
    if cut:
        parts.append(f"{count(len(cut), 'row')} cut to fit the model (first {cut[0].place})")
    if not parts:
        return ""
    return "; ".join([f"{rows - len(left_out):,} of {rows:,} rows are used", *parts])


def _reasons(entries: Sequence[LedgerEntry]) -> list[str]:
    """Count entries by their reason, the most frequent first, each with its first place."""
    for key in (_without_numbers, _without_quotes):
        groups: dict[str, list[LedgerEntry]] = {}
        for entry in entries:
            groups.setdefault(key(str(entry.reason)), []).append(entry)
        if len(groups) <= REASONS:
            break
    ordered = sorted(groups.values(), key=len, reverse=True)
    told = [
        f"{count(len(group), 'row')} left out ({_worded(str(group[0].reason))}, first {group[0].place})"
        for group in ordered
    ]
    others = sum(map(len, ordered[REASONS:]))
    return [*told[:REASONS], *([f"{count(others, 'row')} left out for other reasons"] if others else [])]


def count(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def _without_numbers(reason: str) -> str:
    return NUMBERS.sub("#", reason)


def _without_quotes(reason: str) -> str:
    return QUOTED.sub("'…'", _without_numbers(reason))


def _worded(reason: str) -> str:
    """Shorten a reason; of a check, whose finding is told beside, the name is enough."""
    check = reason.partition(": ")[0]
    if check in registry.names("audits"):
        return check.replace("-", " ")
    listed = reason.replace(";", ",")  # which parts the reasons of the line
    return listed if len(listed) <= LONGEST else f"{listed[:LONGEST]}…"


# ── classes ───────────────────────────────────────────────────────────────────────────────────

LABELS: dict[AnswerKind, Callable[[str], Collection[str]]] = {
    "class": lambda gold: {gold},
    "classes": lambda gold: set(read_list(gold)),
    "tags": lambda gold: {kind for tag in read_list(gold) if (kind := kind_of(tag))},
}
"""How the classes of a row are read from its gold answer, by what answers are."""


def lost_classes(examples: Iterable[Example], left_out: Sequence[LedgerEntry], answers: AnswerKind) -> Finding | None:
    """Find classes of which all or nearly all rows are left out.

    Args:
        examples: all that were made of the data.
        left_out: what the ledger says of those that are not used.
        answers: what their gold answers are; others than classes have none.
    """
    read = LABELS.get(answers)
    reasons = {entry.id: entry for entry in left_out}
    if read is None or not reasons:
        return None
    there, gone = Counter[str](), dict[str, list[LedgerEntry]]()
    for example in examples:
        for label in read(example.gold):
            there[label] += 1
            if example.id in reasons:
                gone.setdefault(label, []).append(reasons[example.id])
    lost = [label for label, entries in gone.items() if label and _is_lost(there[label], len(entries))]
    if not lost:
        return None
    lost.sort(key=lambda label: -len(gone[label]))
    named = ", ".join(
        f"'{label}' keeps {there[label] - len(gone[label]):,} of {there[label]:,}" for label in lost[:LISTED]
    )
    more = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
    reason, _count = Counter(_worded(str(entry.reason)) for label in lost for entry in gone[label]).most_common(1)[0]
    return Finding(
        check="lost-classes",
        severity="severe",
        title=f"classes lose nearly all of their rows: {named}{more}",
        remedy=f"keep their rows, or leave these classes out on purpose; most often the reason is: {reason}",
        rows=tuple(entry.id for label in lost for entry in gone[label]),
    )


def _is_lost(there: int, gone: int) -> bool:
    return gone == there > 1 or (there >= FEWEST and there - gone < NEARLY * there)
