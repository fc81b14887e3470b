"""Rows that repeat another row."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.plugins.audits._same import same_texts

NOTEWORTHY = 0.01
"""Share of the rows from which on repeats tell something about how the data were made."""


class ExactDuplicates(Check):
    """Find rows with the same text (ignoring case, spaces and Unicode form) and the same answer; the first is kept."""

    def find(self, data: Data) -> Finding | None:
        """Find texts and answers seen before."""
        repeats = []
        for group in same_texts(data.examples):
            first = {example.gold: example.id for example in reversed(group)}
            repeats += [example for example in group if example.id != first[example.gold]]
        repeats.sort(key=lambda example: example.id)
        title = msg("{rows} {rows:row|rows} ({share}) {rows:repeats|repeat} the text and the answer of an earlier row")
        remedy = msg(
            "the first of each is kept, so that no test row was trained on; if repeats are intended as weights, the "
            "scores will not reflect them"
        )
        return data.about("exact-duplicates", repeats, title, remedy, many=NOTEWORTHY, drop=True)
