"""Spans that share words with another one: a word has one tag, so that only one of them is learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about, counted, first_of, noted


class OverlappingSpans:
    """Find rows in which spans overlap or one span has two labels."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Collect the spans that the task left out of the tags."""
        rows, left_out = noted(examples, "left_out")
        if not rows or context.answers != "tags":
            return None
        kinds = Counter(left_out)
        learned = {tag.removeprefix("B-") for tag in noted(examples, "tags")[1]}
        title = msg(
            "{rows} {rows:row|rows} ({share}) with spans that overlap or have two labels; not learned: {kinds}",
            kinds=first_of([counted(kind, number) for kind, number in kinds.most_common()]),
        )
        remedy = msg(
            "a word has one tag: the longer span is kept, and of two labels the first; keep the shorter with "
            "`--set task.overlaps=shorter`, leave such rows out with `--set task.overlaps=drop`, or put each kind "
            "into a file of its own"
        )
        return about(
            "overlapping-spans",
            rows,
            examples,
            title,
            remedy,
            severity="warning" if kinds.keys() <= learned else "severe",
        )
