"""Account for every source row: how many are used, why the others are not, and which classes are lost on the way."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from kamerton.core.contracts import AnswerKind
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Joined, Message, Wording, msg, term
from kamerton.core.records import Example, Fate, Finding, LedgerEntry, Split
from kamerton.data.gate import overlong
from kamerton.text.tags import kind_of, read_list

REASONS = 4
"""Most reasons that are listed one by one."""
NEARLY = 0.1
"""Share of its rows below which a class counts as lost: what is left is no sample of it."""
FEWEST = 10
"""Rows of a class from which on a share says something; of fewer, all must be missing."""
LISTED = 3
LABELS: dict[AnswerKind, Callable[[str], Collection[str]]] = {
    "class": lambda gold: {gold},
    "classes": lambda gold: set(read_list(gold)),
    "tags": lambda gold: {kind for tag in read_list(gold) if (kind := kind_of(tag))},
}
"""How the classes of a row are read from its gold answer, by the kind of answers."""


def make_ledger(
    unread: Iterable[LedgerEntry],
    left_out: Iterable[LedgerEntry],
    findings: Sequence[Finding],
    split: Split,
    cut: Iterable[LedgerEntry],
    examples: Sequence[Example],
) -> list[LedgerEntry]:
    """Return the one fate of each source row, in the order of the rows; rows that were cut have a second entry.

    Rows that could not be read, and rows that became no example, were not drawn or did not pass the gate, have their
    entries already. Of the audited examples, one that several checks drop is dropped by the first.
    """
    dropped = {id: finding for finding in reversed(findings) for id in finding.drop}
    entries = [*unread, *left_out, *cut]
    entries += [LedgerEntry(e.id, e.place, "dropped", found_by(dropped[e.id])) for e in examples if e.id in dropped]
    parts: tuple[tuple[Fate, Sequence[Example]], ...]
    parts = ("train", split.train), ("validation", split.validation), ("test", split.test)
    entries += [LedgerEntry(e.id, e.place, part, "") for part, some in parts for e in some]
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


def left_out_line(left_out: Sequence[LedgerEntry]) -> Wording:
    """Return how many rows are left out and why; an empty string if none are."""
    return Joined(_reasons(left_out)) if left_out else ""


def used_line(rows: int, left_out: Sequence[LedgerEntry], cut: Sequence[LedgerEntry] = (), before: int = 0) -> Wording:
    """Return how many rows are used, and why others are left out or cut; an empty string if all are used whole.

    Further rows, `before` in number, are left out for reasons that are reported elsewhere.
    """
    parts = [msg("{rows} {rows:row|rows} left out earlier", rows=before)] if before else []
    parts += _reasons(left_out)
    if cut:
        place = str(cut[0].place)
        parts.append(msg("{rows} {rows:row|rows} cut to fit the model (first {place})", rows=len(cut), place=place))
    used = rows - before - len(left_out)
    return Joined((msg("{used} of {rows} rows are used", used=used, rows=rows), *parts)) if parts else ""


def _reasons(entries: Sequence[LedgerEntry]) -> list[Message]:
    """Count entries by the kind of their reason, the most frequent first, each with its first place.

    Reasons that differ in a name or a label stand apart where they are few.
    """
    for key in (_named_kind, _kind):
        groups: dict[object, list[LedgerEntry]] = {}
        for entry in entries:
            groups.setdefault(key(entry.reason), []).append(entry)
        if len(groups) <= REASONS:
            break
    ordered, listed = sorted(groups.values(), key=len, reverse=True), list[Message]()
    for group in ordered[:REASONS]:
        rows, reason, place = len(group), _short(group[0].reason), str(group[0].place)
        if any(str(_short(entry.reason)) != str(reason) for entry in group):
            reason = msg("for example, {reason}", reason=reason)
        listed.append(
            msg("{rows} {rows:row|rows} left out ({reason}, first {place})", rows=rows, reason=reason, place=place)
        )
    if others := sum(map(len, ordered[REASONS:])):
        listed.append(msg("{rows} {rows:row|rows} left out for other reasons", rows=others))
    return listed


def _kind(reason: Wording) -> object:
    """Return what reasons of one kind share: the check that left the row out, or else the template."""
    return reason.values.get("check", reason.template) if isinstance(reason, Message) else reason


def _named_kind(reason: Wording) -> object:
    """Return what reasons share that differ in numbers only."""
    if not isinstance(reason, Message) or "check" in reason.values:
        return _kind(reason)
    return reason.template, tuple(value for value in reason.values.values() if isinstance(value, str))


def _short(reason: Wording) -> Wording:
    """Return a check's name instead of its finding, which is reported in full elsewhere."""
    check = reason.values.get("check") if isinstance(reason, Message) else None
    return term(str(check).replace("-", " ")) if check else reason


def lost_classes(examples: Iterable[Example], left_out: Sequence[LedgerEntry], answers: AnswerKind) -> Finding | None:
    """Find classes of which all or nearly all rows are left out."""
    read, entries = LABELS.get(answers), {entry.id: entry for entry in left_out}
    if read is None or not entries:
        return None
    total, missing = Counter[str](), defaultdict[str, list[LedgerEntry]](list)
    for example in examples:
        for label in read(example.gold):
            total[label] += 1
            if example.id in entries:
                missing[label].append(entries[example.id])
    kept = {label: total[label] - len(some) for label, some in missing.items()}
    least = {label: NEARLY * rows if rows >= FEWEST else 1 for label, rows in total.items() if label and rows > 1}
    lost = [label for label in missing if kept[label] < least.get(label, 0)]
    lost.sort(key=lambda label: -len(missing[label]))
    if not lost:
        return None
    named = [
        msg("'{label}' keeps {kept} of {rows}", label=label, kept=kept[label], rows=total[label])
        for label in lost[:LISTED]
    ]
    if more := lost[LISTED:]:
        named.append(msg("and {count} more", count=len(more)))
    gone = [entry for label in lost for entry in missing[label]]
    [(commonest, _)] = Counter(_kind(entry.reason) for entry in gone).most_common(1)
    return Finding(
        check="lost-classes",
        severity="severe",
        title=msg("rows of some classes are left out: {classes}", classes=Joined(named, ", ")),
        remedy=_keep(next(entry.reason for entry in gone if _kind(entry.reason) == commonest)),
        rows=tuple(entry.id for entry in gone),
    )


def _keep(reason: Wording) -> Message:
    if isinstance(reason, Message) and reason.template == overlong(1).template:
        return msg("cut them with `--set data.too_long=cut`, or choose a model with a longer context")
    return msg("most of the rows are left out for this reason: {reason}; correct the source", reason=_short(reason))


def require_classes(split: Split, answers: AnswerKind, file: str, lost: Finding | None) -> None:
    """Check that the training rows have more than one class, where answers are classes or sets of classes.

    Raises:
        DataError: all have the same answer; the classes that were `lost` come first, because they are the cause.
    """
    train = (*split.train, *split.added)
    golds = {example.gold for example in train}
    if answers not in ("class", "classes") or len(golds) != 1:
        return
    label = ", ".join(f"'{label}'" for label in sorted(LABELS[answers](*golds))) or "''"
    rule = msg("all {rows} training rows are labeled {label}: there is nothing to learn", rows=len(train), label=label)
    if lost:
        raise DataError([Fault(lost.title, file, lost.remedy), Fault(rule, file)])
    raise DataError(Fault(rule, file, msg("add rows with other labels")))


def untested_classes(split: Split, answers: AnswerKind) -> Finding | None:
    """Find test rows that are all of one class, though others are trained on."""
    tested = {example.gold for example in split.test}
    if answers != "class" or len(tested) != 1 or {example.gold for example in split.train} <= tested:
        return None
    rows, label = len(split.test), split.test[0].gold
    return Finding(
        check="untested-classes",
        severity="severe",
        title=msg("all {rows} test rows are '{label}': nothing about other classes is tested", rows=rows, label=label),
        remedy=msg("add rows of the other classes, or test on more rows: `--set split.test=0.3`"),
    )
