"""Spans that begin or end within a word."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, first_of, quote


class TornSpans(Check):
    """Find rows whose spans cut words in two; the whole words are tagged."""

    def find(self, data: Data) -> Finding | None:
        """Collect the spans that the task found to begin or end between two letters of a word."""
        rows, cuts = data.noted("torn")
        if data.context.answers != "tags":
            return None
        title = msg(
            "{rows} {rows:row|rows} ({share}) with spans that begin or end within a word: {cuts}",
            cuts=first_of([quote(cut) for cut in dict.fromkeys(cuts)]),
        )
        remedy = msg(
            "the whole words are tagged; if the offsets are shifted, set how they are counted: "
            "`--set task.offsets=...`, `task.first_letter=...` or `task.end_inside=true`"
        )
        return data.about("torn-spans", rows, title, remedy, many=0.05)
