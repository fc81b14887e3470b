"""Rows that say again what another row says."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.audits._wording import count, ids, samples, share
from kamerton.contracts import AuditContext
from kamerton.records import Example, Finding


class ExactDuplicates:
    """Find rows with the same text (but for case, spaces and Unicode form) and the same answer; the first is kept."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for texts and answers seen before."""
        seen: set[tuple[str, str]] = set()
        repeats = []
        for example in examples:
            said = (example.key, example.gold)
            if said in seen and example.text.strip():
                repeats.append(example)
            seen.add(said)
        if not repeats:
            return None
        part = share(len(repeats), len(examples))
        return Finding(
            check="exact-duplicates",
            severity="warning",
            title=f"{count(len(repeats), 'row')} ({part}) repeat the text and the answer of an earlier row",
            remedy="the first of each is kept, so that no test row was trained on; "
            "if repeats are meant as weights, the scores will not show them",
            rows=ids(repeats),
            drop=ids(repeats),
            samples=samples(repeats),
        )
