"""Spans that begin or end within a word: offsets that are counted otherwise, or parts of words."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, noted, samples, share, some

MANY = 0.05


class TornSpans:
    """Find rows whose spans cut words in two; the whole words are tagged."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for spans that the task found to begin or end between two letters of a word."""
        rows = [example for example in examples if noted(example, "torn")]
        if not rows or context.answers != "tags":
            return None
        cuts = [cut for example in rows for cut in noted(example, "torn")]
        return Finding(
            check="torn-spans",
            severity="warning" if len(rows) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) with spans that begin or end within "
            f"a word: {some(list(dict.fromkeys(cuts)))}",
            remedy="the whole words are tagged; if the offsets are shifted, say how they are counted with "
            "`--set task.offsets=...`, `task.first_letter=...` or `task.end_inside=true`",
            rows=ids(rows),
            samples=samples(rows),
        )
