"""How many rows were used, why the others were not, and which classes were lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from kamerton.core.contracts import AnswerKind
from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Joined, Message, Wording, msg, term
from kamerton.core.records import Example, Finding, LedgerEntry, Split
from kamerton.data.gate import overlong
from kamerton.text.tags import kind_of, read_list

REASONS = 4
"""Most reasons that are listed one by one."""
NEARLY = 0.1
"""Share of its rows below which a class counts as lost: what is left is no sample of it."""
FEWEST = 10
"""Rows of a class from which on a share says something; of fewer, all must be missing."""
LISTED = 3


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
        parts.append(
            msg("{rows} {rows:row|rows} cut to fit the model (first {place})", rows=len(cut), place=str(cut[0].place))
        )
    if not parts:
        return ""
    used = rows - before - len(left_out)
    return Joined((msg("{used} of {rows} rows are used", used=used, rows=rows), *parts))


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
    ordered = sorted(groups.values(), key=len, reverse=True)
    listed = [
        msg("{rows} {rows:row|rows} left out ({reason}, first {place})", rows=len(group), reason=reason, place=place)
        for group in ordered[:REASONS]
        for reason, place in [(_common(group), str(group[0].place))]
    ]
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


def _common(group: Sequence[LedgerEntry]) -> Wording:
    """Return the reason of a group, as an example where its entries have several."""
    reason = _short(group[0].reason)
    several = len({str(_short(entry.reason)) for entry in group}) > 1
    return msg("for example, {reason}", reason=reason) if several else reason


def _short(reason: Wording) -> Wording:
    """Return a check's name instead of its finding, which is reported in full elsewhere."""
    check = reason.values.get("check") if isinstance(reason, Message) else None
    return term(str(check).replace("-", " ")) if check else reason


LABELS: dict[AnswerKind, Callable[[str], Collection[str]]] = {
    "class": lambda gold: {gold},
    "classes": lambda gold: set(read_list(gold)),
    "tags": lambda gold: {kind for tag in read_list(gold) if (kind := kind_of(tag))},
}
"""How the classes of a row are read from its gold answer, by the kind of answers."""


def lost_classes(examples: Iterable[Example], left_out: Sequence[LedgerEntry], answers: AnswerKind) -> Finding | None:
    """Find classes of which all or nearly all rows are left out."""
    read = LABELS.get(answers)
    entries = {entry.id: entry for entry in left_out}
    if read is None or not entries:
        return None
    total, missing = Counter[str](), dict[str, list[LedgerEntry]]()
    for example in examples:
        for label in read(example.gold):
            total[label] += 1
            if example.id in entries:
                missing.setdefault(label, []).append(entries[example.id])
    lost = [label for label, some in missing.items() if label and _is_lost(total[label], len(some))]
    if not lost:
        return None
    lost.sort(key=lambda label: -len(missing[label]))
    named: list[Message] = [
        msg("'{label}' keeps {kept} of {rows}", label=label, kept=total[label] - len(missing[label]), rows=total[label])
        for label in lost[:LISTED]
    ]
    if more := lost[LISTED:]:
        named.append(msg("and {count} more", count=len(more)))
    groups = Counter(_kind(entry.reason) for label in lost for entry in missing[label])
    [(commonest, _)] = groups.most_common(1)
    reason = next(e.reason for label in lost for e in missing[label] if _kind(e.reason) == commonest)
    return Finding(
        check="lost-classes",
        severity="severe",
        title=msg("rows of some classes are left out: {classes}", classes=Joined(tuple(named), ", ")),
        remedy=_keep(reason),
        rows=tuple(entry.id for label in lost for entry in missing[label]),
    )


def _is_lost(total: int, missing: int) -> bool:
    return missing == total > 1 or (total >= FEWEST and total - missing < NEARLY * total)


def _keep(reason: Wording) -> Message:
    """Return how to keep rows that are left out for a reason."""
    if isinstance(reason, Message) and reason.template == overlong(1).template:
        return msg("cut them with `--set data.too_long=cut`, or choose a model with a longer context")
    return msg("most of the rows are left out for this reason: {reason}; correct the source", reason=_short(reason))


def require_classes(split: Split, answers: AnswerKind, file: str, lost: Finding | None) -> None:
    """Check that the training rows have more than one class, where answers are classes or sets of classes.

    Raises:
        DataError: all have the same answer; the classes that were `lost` come first, because they are the cause.
    """
    golds = {example.gold for example in (*split.train, *split.added)}
    if answers not in ("class", "classes") or len(golds) != 1:
        return
    rule = msg(
        "all {rows} training rows are labeled {label}: there is nothing to learn",
        rows=len(split.train) + len(split.added),
        label=", ".join(f"'{label}'" for label in sorted(LABELS[answers](*golds))) or "''",
    )
    if lost:
        raise DataError([Fault(lost.title, file, lost.remedy), Fault(rule, file)])
    raise DataError(Fault(rule, file, msg("add rows with other labels")))


def untested_classes(split: Split, answers: AnswerKind) -> Finding | None:
    """Find test rows that are all of one class, though others are trained on."""
    tested = {example.gold for example in split.test}
    if answers != "class" or len(tested) != 1 or {example.gold for example in split.train} <= tested:
        return None
    return Finding(
        check="untested-classes",
        severity="severe",
        title=msg(
            "all {rows} test rows are '{label}': nothing about other classes is tested",
            rows=len(split.test),
            label=split.test[0].gold,
        ),
        remedy=msg("add rows of the other classes, or test on more rows: `--set split.test=0.3`"),
    )
