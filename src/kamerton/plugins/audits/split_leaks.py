"""What the test rows share with the training rows, where the user gave the split."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, samples, share
from kamerton.text.near_duplicates import near_duplicate_groups

GROUPS = frozenset((
    "author", "authorid", "user", "userid", "username", "group", "groupid", "patient", "patientid", "speaker",
    "speakerid", "customer", "customerid", "client", "clientid", "document", "documentid", "docid", "doc", "dialog",
    "dialogid", "conversation", "conversationid", "session", "sessionid", "thread", "threadid", "автор",
    "пользователь", "группа", "пациент", "клиент", "документ", "диалог", "сессия"
))  # fmt: skip
"""Columns whose values belong together: what is learnt of one author helps with all of that author's rows."""
SEVERE = 0.05
"""Share of the tested rows that were trained on, from which on the score is another than it seems."""


class SplitLeaks:
    """Find tested rows that are trained on as well: the same text, or the same author's."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the parts of the split that the user gave."""
        parts = context.parts
        if parts is None or len(set(parts)) < 2:
            return None
        same = _crossing([example.key for example in examples], parts)
        near = _crossing(near_duplicate_groups([example.text for example in examples]).tolist(), parts)
        by_text = list(dict.fromkeys([*same, *near]))
        groups = {name: values for name, values in context.columns.items() if _same(name) in GROUPS}
        by_group = {name: _crossing(_hashable(values), parts) for name, values in groups.items()}
        shared = {name: found for name, found in by_group.items() if found}
        if not by_text and not shared:
            return None
        tested = sum(part != "train" for part in parts)
        titles = []
        if by_text:
            nearly = f", {len(by_text) - len(same):,} of them nearly" if len(by_text) > len(same) else ""
            titles = [
                f"{count(len(by_text), 'row')} ({share(len(by_text), tested)}) tested on are trained on as well{nearly}"
            ]
        titles += [
            f"{count(len(found), 'tested row')} share their '{name}' with training rows"
            for name, found in shared.items()
        ]
        rows = list(dict.fromkeys([*by_text, *(i for found in shared.values() for i in found)]))
        return Finding(
            check="split-leaks",
            severity="severe" if len(by_text) > SEVERE * tested else "warning",
            title="; ".join(titles),
            remedy="split anew so that the same text, and the same author, is on one side: the scores of such rows "
            "show memory",
            rows=tuple(examples[i].id for i in rows),
            samples=samples(examples[i] for i in rows),
        )


def _crossing(values: Sequence[Hashable], parts: Sequence[str]) -> list[int]:
    """Give the positions of tested rows whose value a row of an earlier part has."""
    order = ("train", "validation", "test")
    first: dict[Hashable, int] = {}
    for value, part in zip(values, parts, strict=True):
        first[value] = min(first.get(value, len(order)), order.index(part))
    return [
        i
        for i, (value, part) in enumerate(zip(values, parts, strict=True))
        if value is not None and order.index(part) > first[value]
    ]


def _hashable(values: Iterable[object]) -> list[str | None]:
    """Write values as text; empty ones belong to nobody."""
    return [str(value) if value not in (None, "") else None for value in values]


def _same(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter not in "_- ")
