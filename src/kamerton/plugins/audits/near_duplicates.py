"""Texts that nearly repeat an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._same import first_with_text
from kamerton.plugins.audits._texts import texts_of
from kamerton.plugins.audits._wording import count, ids, samples, share
from kamerton.text.near_duplicates import near_duplicate_groups

NOTEWORTHY = 0.01
"""Share of the rows from which on the scores can be too high by a visible amount, if copies are tested on."""


class NearDuplicates:
    """Find texts that differ from an earlier one by a few letters, a word or the punctuation; they are kept."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the different texts; exact repeats are another check's."""
        firsts = first_with_text(examples)
        different = np.flatnonzero(firsts == np.arange(len(firsts)))
        texts = texts_of(examples, context)
        groups = near_duplicate_groups([texts[at] for at in different.tolist()])
        near = np.flatnonzero(groups != np.arange(len(groups)))
        if not len(near):
            return None
        copies = [examples[at] for at in different[near].tolist()]
        originals = [examples[at] for at in different[groups[near]].tolist()]
        torn = sum(copy.gold != original.gold for copy, original in zip(copies, originals, strict=True))
        labels = f", {torn:,} of them with another label" if context.stratified and torn else ""
        shown = [example for pair in zip(originals, copies, strict=True) for example in pair]
        return Finding(
            check="near-duplicates",
            severity="warning" if len(near) > NOTEWORTHY * len(examples) else "note",
            title=f"{count(len(near), 'text')} ({share(len(near), len(examples))}) "
            f"nearly {'repeats' if len(near) == 1 else 'repeat'} an earlier one{labels}",
            remedy="look whether they are the same row entered twice, or made from a template; "
            "what the model has seen in training, it must not be tested on",
            rows=ids(copies),
            samples=samples(shown),
        )
