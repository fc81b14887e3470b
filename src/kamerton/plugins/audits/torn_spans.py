"""Spans that begin or end within a word."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about, first_of, noted, quote

MANY = 0.05


class TornSpans:
    """Find rows whose spans cut words in two; the whole words are tagged."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Collect the spans that the task found to begin or end between two letters of a word."""
        rows, cuts = noted(examples, "torn")
        if not rows or context.answers != "tags":
            return None
        title = msg(
            "{rows} {rows:row|rows} ({share}) with spans that begin or end within a word: {cuts}",
            cuts=first_of([quote(cut) for cut in dict.fromkeys(cuts)]),
        )
        remedy = msg(
            "the whole words are tagged; if the offsets are shifted, set how they are counted: "
            "`--set task.offsets=...`, `task.first_letter=...` or `task.end_inside=true`"
        )
        return about("torn-spans", rows, examples, title, remedy, many=MANY)
