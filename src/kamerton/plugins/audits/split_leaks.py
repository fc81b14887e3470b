"""What the test rows share with the training rows, where the user gave the split."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import samples, share
from kamerton.text.near_duplicates import near_duplicate_groups

GROUPS = frozenset((
    "author", "authorid", "user", "userid", "username", "group", "groupid", "patient", "patientid", "speaker",
    "speakerid", "customer", "customerid", "client", "clientid", "document", "documentid", "docid", "doc", "dialog",
    "dialogid", "conversation", "conversationid", "session", "sessionid", "thread", "threadid", "автор",
    "пользователь", "группа", "пациент", "клиент", "документ", "диалог", "сессия"
))  # fmt: skip
"""Columns whose values belong together: what is learned of one author helps with all of that author's rows."""
MANY = 0.05
"""Share of the tested rows from which on a leak would visibly change the score."""
ORDER = ("train", "validation", "test")


class SplitLeaks:
    """Find tested rows that an earlier part holds as well: the same text, or the same author's.

    Rows of the same text are never trained and tested on: exact repeats are dropped, and a training row that nearly
    repeats a given test row is left out of training (`data.split`).
    """

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the parts of the split that the user gave."""
        parts = context.parts
        if parts is None or len(set(parts)) < 2:
            return None
        same = _crossing([example.key for example in examples], parts)
        near = _crossing(near_duplicate_groups([example.text for example in examples]).tolist(), parts)
        by_text = list(dict.fromkeys([*same, *near]))
        groups = {name: values for name, values in context.columns.items() if _bare(name) in GROUPS}
        by_group = {name: _crossing(_hashable(values), parts) for name, values in groups.items()}
        shared = {name: found for name, found in by_group.items() if found}
        if not by_text and not shared:
            return None
        tested = [part for part in parts if part != "train"]
        nearly = len(by_text) - len(same)
        titles, remedies = list[Message](), list[Message]()
        if by_text:
            titles.append(
                msg(
                    "{rows} tested {rows:row|rows} ({share}) {rows:repeats|repeat} rows of an earlier part{near}; "
                    "one of each pair is left out",
                    rows=len(by_text),
                    share=share(by_text, tested),
                    near=msg(", {rows} of them with small changes", rows=nearly) if nearly else "",
                )
            )
            remedies.append(msg("scores here are not affected; scores of other programs on this split show memory"))
        for name, found in shared.items():
            titles.append(
                msg(
                    "{rows} tested {rows:row shares its|rows share their} '{column}' with training rows",
                    rows=len(found),
                    column=name,
                )
            )
        if shared:
            remedies.append(msg("split by this column, so that scores do not show memory: `--set split.by=group`"))
        places = dict.fromkeys([*by_text, *(at for found in shared.values() for at in found)])
        rows = [examples[at] for at in places]
        return Finding(
            check="split-leaks",
            severity="warning" if shared or len(by_text) > MANY * len(tested) else "note",
            title=Joined(tuple(titles)),
            remedy=Joined(tuple(remedies)),
            rows=tuple(row.id for row in rows),
            samples=samples(rows),
        )


def _crossing(values: Sequence[Hashable], parts: Sequence[str]) -> list[int]:
    """Return the positions of tested rows whose value a row of an earlier part has."""
    first: dict[Hashable, int] = {}
    for value, part in zip(values, parts, strict=True):
        first[value] = min(first.get(value, len(ORDER)), ORDER.index(part))
    pairs = enumerate(zip(values, parts, strict=True))
    return [at for at, (value, part) in pairs if value is not None and ORDER.index(part) > first[value]]


def _hashable(values: Iterable[object]) -> list[str | None]:
    """Convert values to text; empty ones belong to no group."""
    return [str(value) if value not in (None, "") else None for value in values]


def _bare(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter not in "_- ")
