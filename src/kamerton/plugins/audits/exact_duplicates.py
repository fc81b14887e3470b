"""Rows that say again what another row says."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._same import same_texts
from kamerton.plugins.audits._wording import count, ids, samples, share

NOTEWORTHY = 0.01
"""Share of the rows from which on it says something of how the data were made."""


class ExactDuplicates:
    """Find rows with the same text (but for case, spaces and Unicode form) and the same answer; the first is kept."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for texts and answers seen before."""
        repeats = []
        for group in same_texts(examples):
            first = {example.gold: example.id for example in reversed(group)}
            repeats += [example for example in group if example.id != first[example.gold]]
        repeats.sort(key=lambda example: example.id)
        if not repeats:
            return None
        part = share(len(repeats), len(examples))
        return Finding(
            check="exact-duplicates",
            severity="warning" if len(repeats) > NOTEWORTHY * len(examples) else "note",
            title=f"{count(len(repeats), 'row')} ({part}) {'repeats' if len(repeats) == 1 else 'repeat'} "
            "the text and the answer of an earlier row",
            remedy="the first of each is kept, so that no test row was trained on; "
            "if repeats are meant as weights, the scores will not show them",
            rows=ids(repeats),
            drop=ids(repeats),
            samples=samples(repeats),
        )
