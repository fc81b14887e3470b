"""Labels that may mean that a row has no label."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._labels import label_counts, labels_of
from kamerton.plugins.audits._wording import SHOWN, count, ids, samples
from kamerton.text.label_values import find_placeholders

ORDER = ("severe", "warning", "note")


class PlaceholderLabels:
    """Find classes such as `None`, `unknown`, `-1`, `нет данных`; what can only be a placeholder is left out before."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look at each label beside all others, where answers are labels."""
        counts = label_counts(examples, context)
        doubted = find_placeholders(counts.keys()).doubted
        if not doubted:
            return None
        rows = [example for example in examples if not doubted.keys().isdisjoint(labels_of(example.gold, context))]
        names = sorted(doubted, key=lambda label: -counts[label])
        shown = ", ".join(f"'{name}' {counts[name]:,}" for name in names[:SHOWN])
        return Finding(
            check="placeholder-labels",
            severity=min(doubted.values(), key=ORDER.index),
            title=f"{count(len(rows), 'row')} with a label that may mean that there is none: {shown}",
            remedy="if it does, empty these cells: then the rows are left out; if it is a class, give it a name that "
            "says so",
            rows=ids(rows),
            samples=samples(rows),
        )
