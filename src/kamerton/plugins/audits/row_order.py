"""Rows whose order reveals the label."""

from collections import Counter
from itertools import pairwise

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data

SORTED = 0.5
"""Changes of the label from row to row, as a share of those expected in a random order."""
LEAST_ROWS = 50


class RowOrder(Check):
    """Find rows that are sorted by label, or come in blocks of one."""

    def find(self, data: Data) -> Finding | None:
        """Count how often the label changes from one row to the next (Wald & Wolfowitz 1940)."""
        golds = [example.gold for example in data.examples]
        if not data.context.stratified or len(golds) < LEAST_ROWS:
            return None
        changes = sum(one != other for one, other in pairwise(golds))
        equal = sum(number * (number - 1) for number in Counter(golds).values())
        expected = (len(golds) - 1) * (1 - equal / (len(golds) * (len(golds) - 1)))
        if changes >= SORTED * expected:
            return None
        title = msg(
            "the rows come in blocks of the same label: it changes {changes} {changes:time|times}, about {expected} "
            "in a random order",
            changes=changes,
            expected=round(expected),
        )
        remedy = msg("the split here does not depend on the order, but programs that cut off a part of the file do")
        return Finding("row-order", "note", title, remedy)
