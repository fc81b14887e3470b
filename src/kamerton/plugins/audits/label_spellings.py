"""One label in several spellings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import label_counts, with_labels
from kamerton.plugins.audits._findings import about, counted, first_of
from kamerton.text.label_values import main_spellings


class LabelSpellings:
    """Find labels that differ in case, spaces, hyphens, signs that look alike, ё and е, or `1` and `1.0`."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the spellings of all labels, where answers are labels."""
        counts = label_counts(examples, context)
        main = main_spellings(counts)
        groups = defaultdict(list)
        for label, whole in main.items():
            groups[whole].append(label)
        spellings = [
            Joined(tuple(counted(label, counts[label]) for label in (whole, *others)), " = ")
            for whole, others in groups.items()
        ]
        title = msg(
            "{labels} {labels:label is|labels are} spelled in several ways: {spellings}",
            labels=len(groups),
            spellings=first_of(spellings),
        )
        remedy = msg(
            "`kamerton audit DATA --fix` writes each in one spelling; until then they are learned as different classes"
        )
        rows = with_labels(examples, context, main)
        return about("label-spellings", rows, examples, title, remedy, severity="severe")
