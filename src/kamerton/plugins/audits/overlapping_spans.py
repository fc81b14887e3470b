"""Spans that share words with another one: a word has one tag, so that only one of them is learned."""

from collections import Counter

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, Severity, counted, first_of


class OverlappingSpans(Check):
    """Find rows in which spans overlap or one span has two labels."""

    def find(self, data: Data) -> Finding | None:
        """Collect the spans that the task left out of the tags."""
        rows, left_out = data.noted("left_out")
        if data.context.answers != "tags":
            return None
        kinds = Counter(left_out)
        learned = {tag.removeprefix("B-") for tag in data.noted("tags")[1]}
        title = msg(
            "{rows} {rows:row|rows} ({share}) with spans that overlap or have two labels; not learned: {kinds}",
            kinds=first_of(counted(kinds.most_common())),
        )
        remedy = msg(
            "a word has one tag: the longer span is kept, and of two labels the first; keep the shorter with "
            "`--set task.overlaps=shorter`, leave such rows out with `--set task.overlaps=drop`, or put each kind "
            "into a file of its own"
        )
        severity: Severity = "warning" if kinds.keys() <= learned else "severe"
        changes = ({"task.overlaps": "shorter"}, {"task.overlaps": "drop"})
        return data.about("overlapping-spans", rows, title, remedy, severity=severity, changes=changes)
