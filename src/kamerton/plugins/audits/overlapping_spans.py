"""Spans that share words with another one: a word has one tag, so that only one of them is taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, noted, samples, share

SHOWN = 5


class OverlappingSpans:
    """Find rows in which spans overlap or one span has two labels."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for spans that the task left out of the tags."""
        rows = [example for example in examples if noted(example, "left_out")]
        if not rows or context.answers != "tags":
            return None
        kinds = Counter(kind for example in rows for kind in noted(example, "left_out"))
        taught = {tag.removeprefix("B-") for example in examples for tag in noted(example, "tags")}
        names = [f"{kind} {times:,}" for kind, times in kinds.most_common(SHOWN)]
        more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
        return Finding(
            check="overlapping-spans",
            severity="warning" if kinds.keys() <= taught else "severe",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) with spans that overlap or have two "
            f"labels; these are not taught: {', '.join(names)}{more}",
            remedy="a word has one tag: the longer span is kept, and of two labels the first; take the shorter with "
            "`--set task.overlaps=shorter`, leave such rows out with `--set task.overlaps=drop`, or give each kind a "
            "file of its own",
            rows=ids(rows),
            samples=samples(rows),
        )
