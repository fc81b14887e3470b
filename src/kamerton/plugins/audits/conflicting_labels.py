"""Texts that have two labels."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.plugins.audits._same import same_texts

SEVERE = 0.01
"""Share of the rows. A model cannot be right on both of two labels, so half of these rows are lost points."""


class ConflictingLabels(Check):
    """Find rows of the same text with different labels; they are kept, on one side of the split."""

    def find(self, data: Data) -> Finding | None:
        """Find texts with more than one label, where answers are labels."""
        if not data.context.stratified:
            return None
        groups = ([example for example in group if example.gold.strip()] for group in same_texts(data.examples))
        torn = [group for group in groups if len({example.gold for example in group}) > 1]
        rows = [example for group in torn for example in group]
        title = msg(
            "{texts} {texts:text|texts} with different labels, in {rows} {rows:row|rows} ({share})", texts=len(torn)
        )
        remedy = msg("decide on one label for each text, or on a rule that tells the labels apart")
        severe = len(rows) > SEVERE * len(data.examples)
        return data.about("conflicting-labels", rows, title, remedy, severity="severe" if severe else "warning")
