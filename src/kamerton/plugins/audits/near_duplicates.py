"""Texts that nearly repeat an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Message, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import texts_of
from kamerton.plugins.audits._findings import SHOWN, about, short
from kamerton.plugins.audits._same import first_with_text
from kamerton.text.near_duplicates import near_duplicate_groups

NOTEWORTHY = 0.01
"""Share of the rows from which on the scores can be visibly too high, if copies are tested on."""


class NearDuplicates:
    """Find texts that differ from an earlier one by a few letters, a word or the punctuation; they are kept."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the different texts; exact repeats belong to another check."""
        firsts = first_with_text(examples)
        different = np.flatnonzero(firsts == np.arange(len(firsts)))
        texts = texts_of(examples, context)
        groups = near_duplicate_groups([texts[at] for at in different.tolist()])
        near = np.flatnonzero(groups != np.arange(len(groups)))
        copies = [examples[at] for at in different[near].tolist()]
        pairs = list(zip(copies, (examples[at] for at in different[groups[near]].tolist()), strict=True))
        torn = sum(copy.gold != original.gold for copy, original in pairs) if context.stratified else 0
        labels = msg(", {rows} of them with another label", rows=torn) if torn else ""
        title = msg(
            "{rows} {rows:text|texts} ({share}) nearly {rows:repeats|repeat} an earlier one{labels}", labels=labels
        )
        remedy = msg(
            "check whether they are the same row entered twice, or made from a template; what the model saw in "
            "training must not be tested on"
        )
        shown = tuple(_sample(*pair) for pair in pairs[:SHOWN])
        return about("near-duplicates", copies, examples, title, remedy, many=NOTEWORTHY, shown=shown)


def _sample(copy: Example, original: Example) -> Message:
    """Show a copy beside the row that it repeats, both with their places."""
    return msg(
        "{place} repeats {earlier}: {text}, {original}",
        place=str(copy.place),
        earlier=str(original.place),
        text=short(copy.text),
        original=short(original.text),
    )
