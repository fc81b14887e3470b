"""The page of an audit: the data, what is wrong with them, and how to mend it. One file, like the report."""

from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kamerton.core.messages import Message, Wording, msg
from kamerton.core.outcomes import Fixed
from kamerton.core.records import Example, Finding, LedgerEntry
from kamerton.i18n.language import Language
from kamerton.report.html import write_page
from kamerton.text.pii import mask

MOST_CLASSES = 24
MOST_PLACES = 60
"""Rows of a finding that are listed; the ids of all are in `audit --json`."""
MOST_UNREAD = 30
EDGES = (0, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Characters: where one bar of the lengths ends and the next begins."""


@dataclass(frozen=True)
class Shown:
    """A finding with the places of its rows."""

    finding: Finding
    places: tuple[str, ...]
    share: float
    """Of all examples."""


@dataclass(frozen=True)
class AuditPage:
    """What the template shows."""

    name: str
    task: str
    reason: Wording
    model: str
    """Empty where none was chosen."""
    rows: int
    examples: int
    unread: tuple[LedgerEntry, ...]
    unread_rows: int
    findings: tuple[Shown, ...]
    classes: Sequence[tuple[Wording, int]]
    """Labels and their rows, the largest first."""
    more_classes: int
    lengths: Sequence[tuple[Wording, int]]
    command: str
    """What writes the cleaned copy; empty where it would not differ."""
    mended: Fixed | None

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of findings by severity."""
        return Counter(shown.finding.severity for shown in self.findings)

    @property
    def decision(self) -> Message:
        """The result in a few words."""
        if severe := self.counts["severe"]:
            return msg("{severe} severe {severe:finding|findings}", severe=severe)
        if warnings := self.counts["warning"]:
            return msg("Nothing severe, {warnings} {warnings:warning|warnings}", warnings=warnings)
        return msg("Clean")

    @property
    def tone(self) -> str:
        """The class of the band's color."""
        return "do-not-ship" if self.counts["severe"] else "not-proven" if self.counts["warning"] else "ship"


def write_audit_page(path: Path, page: AuditPage, language: Language = "en") -> None:
    """Write the page as one self-contained HTML file."""
    write_page(path, "audit.html.j2", {"page": page}, language)


def shown(findings: Sequence[Finding], examples: Sequence[Example]) -> tuple[Shown, ...]:
    """Return findings with the places of their rows, in the order of the finding."""
    wanted = {id for finding in findings for id in finding.rows[:MOST_PLACES]}
    places = {example.id: str(example.place) for example in examples if example.id in wanted}
    return tuple(
        Shown(one, tuple(places[id] for id in one.rows[:MOST_PLACES]), len(one.rows) / max(1, len(examples)))
        for one in findings
    )


def class_bars(examples: Sequence[Example]) -> list[tuple[Wording, int]]:
    """Count the rows of each label, the largest first."""
    counted = Counter(example.gold for example in examples)
    return [(mask(label) or msg("(empty)"), rows) for label, rows in counted.most_common()]


def length_bars(examples: Sequence[Example]) -> list[tuple[Wording, int]]:
    """Count the texts by their length in characters; empty bars at both ends are left out."""
    counts = Counter(bisect(EDGES, len(example.text)) - 1 for example in examples)
    ends = [msg("{low} to {high}", low=low, high=high - 1) for low, high in pairwise(EDGES)]
    ends.append(msg("{low} or more", low=EDGES[-1]))
    return [(ends[i], counts[i]) for i in range(min(counts, default=0), max(counts, default=-1) + 1)]
