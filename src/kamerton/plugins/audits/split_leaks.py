"""What the test rows share with the training rows, where the user gave the split."""

import re
from collections.abc import Sequence

from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, Severity, share
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


class SplitLeaks(Check):
    """Find tested rows that an earlier part holds as well: the same text, or the same author's.

    Rows of the same text are never trained and tested on: exact repeats are dropped, and a training row that nearly
    repeats a given test row is left out of training (`data.split`).
    """

    def find(self, data: Data) -> Finding | None:
        """Compare the parts of the split that the user gave."""
        parts = data.context.parts
        if parts is None or len(set(parts)) < 2:
            return None
        same = _crossing([example.key for example in data.examples], parts)
        near = _crossing(near_duplicate_groups([example.text for example in data.examples]).tolist(), parts)
        by_text = list(dict.fromkeys([*same, *near]))
        shared: dict[str, list[int]] = {}
        for name, values in data.context.columns.items():
            if re.sub("[_ -]", "", name.casefold()) in GROUPS and (found := _crossing(values, parts)):
                shared[name] = found
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
            template = "{rows} tested {rows:row shares its|rows share their} '{column}' with training rows"
            titles.append(msg(template, rows=len(found), column=name))
        if shared:
            remedies.append(msg("split by this column, so that scores do not show memory: `--set split.by=group`"))
        places = dict.fromkeys([*by_text, *(at for found in shared.values() for at in found)])
        rows = [data.examples[at] for at in places]
        severity: Severity = "warning" if shared or len(by_text) > MANY * len(tested) else "note"
        changes = tuple({"split.by": "group", "split.column": column, "split.test_path": None} for column in shared)
        return data.about("split-leaks", rows, Joined(titles), Joined(remedies), severity=severity, changes=changes)


def _crossing(values: Sequence[object], parts: Sequence[str]) -> list[int]:
    """Return the positions of tested rows whose value, as text, an earlier part has; empty ones do not count."""
    pairs = [(str(value), ORDER.index(part)) for value, part in zip(values, parts, strict=True)]
    first: dict[str, int] = {}
    for value, part in pairs:
        first[value] = min(first.get(value, part), part)
    return [at for at, (value, part) in enumerate(pairs) if values[at] not in (None, "") and part > first[value]]
