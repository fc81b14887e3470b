"""Texts that nearly repeat an earlier one."""

import numpy as np

from kamerton.core.messages import Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import SHOWN, Check, Data, short
from kamerton.plugins.audits._same import first_with_text
from kamerton.text.near_duplicates import near_duplicate_groups

NOTEWORTHY = 0.01
"""Share of the rows from which on the scores can be visibly too high, if copies are tested on."""


class NearDuplicates(Check):
    """Find texts that differ from an earlier one by a few letters, a word or the punctuation; they are kept."""

    def find(self, data: Data) -> Finding | None:
        """Compare the different texts; exact repeats belong to another check."""
        firsts = first_with_text(data.examples)
        different = np.flatnonzero(firsts == np.arange(len(firsts)))
        groups = near_duplicate_groups([data.texts[at] for at in different.tolist()])
        near = np.flatnonzero(groups != np.arange(len(groups)))
        copies = [data.examples[at] for at in different[near].tolist()]
        pairs = list(zip(copies, (data.examples[at] for at in different[groups[near]].tolist()), strict=True))
        torn = sum(copy.gold != original.gold for copy, original in pairs) if data.context.stratified else 0
        labels = msg(", {rows} of them with another label", rows=torn) if torn else ""
        title = msg(
            "{rows} {rows:text|texts} ({share}) nearly {rows:repeats|repeat} an earlier one{labels}", labels=labels
        )
        remedy = msg(
            "check whether they are the same row entered twice, or made from a template; what the model saw in "
            "training must not be tested on"
        )
        shown = tuple(_sample(*pair) for pair in pairs[:SHOWN])
        return data.about("near-duplicates", copies, title, remedy, many=NOTEWORTHY, shown=shown)


def _sample(copy: Example, original: Example) -> Message:
    """Show a copy beside the row that it repeats, both with their places."""
    return msg(
        "{place} repeats {earlier}: {text}, {original}",
        place=str(copy.place),
        earlier=str(original.place),
        text=short(copy.text),
        original=short(original.text),
    )
