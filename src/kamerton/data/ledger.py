"""Account for every source row: what became of it, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kamerton.core.messages import Message, msg
from kamerton.core.records import Example, Fate, Finding, LedgerEntry, Split


def make_ledger(
    unread: Iterable[LedgerEntry],
    left_out: Iterable[LedgerEntry],
    findings: Sequence[Finding],
    split: Split,
    cut: Iterable[LedgerEntry],
    examples: Sequence[Example],
) -> list[LedgerEntry]:
    """Return the one fate of each source row, in the order of the rows; rows that were cut have a second entry.

    Args:
        unread: rows that could not be read.
        left_out: rows that became no example, were not drawn, or did not pass the gate.
        findings: of the audit; a row that several checks drop is dropped by the first.
        split: the parts of the rest.
        cut: entries of rows that lost tokens.
        examples: those that were audited.
    """
    dropped: dict[int, Finding] = {}
    for finding in findings:
        for id in finding.drop:
            dropped.setdefault(id, finding)
    entries = [*unread, *left_out, *cut]
    entries += [LedgerEntry(e.id, e.place, "dropped", found_by(dropped[e.id])) for e in examples if e.id in dropped]
    entries += _used(split.train, "train") + _used(split.validation, "validation") + _used(split.test, "test")
    return sorted(entries, key=lambda entry: (entry.id, entry.fate == "cut"))


def found_by(finding: Finding) -> Message:
    """Return why a row that a check drops is left out."""
    return msg("{check}: {title}", check=finding.check, title=finding.title)


def check_complete(rows_read: int, ledger: Sequence[LedgerEntry]) -> None:
    """Check that every row read has exactly one fate, and that only rows in use were cut.

    Raises:
        AssertionError: a row was lost or counted twice: a fault of Kamerton, not of the data.
    """
    fates = Counter(entry.id for entry in ledger if entry.fate != "cut")
    lost = [id for id in range(rows_read) if fates[id] != 1]
    strange = sorted(id for id in fates if not 0 <= id < rows_read)
    used = {entry.id for entry in ledger if entry.fate not in ("cut", "dropped")}
    unused = sorted(entry.id for entry in ledger if entry.fate == "cut" and entry.id not in used)
    if lost or strange or unused:
        raise AssertionError(
            f"the ledger is wrong: rows without exactly one fate {lost[:5]}, rows never read {strange[:5]}, "
            f"rows cut but not used {unused[:5]}"
        )


def _used(examples: Iterable[Example], fate: Fate) -> list[LedgerEntry]:
    return [LedgerEntry(example.id, example.place, fate, "") for example in examples]
