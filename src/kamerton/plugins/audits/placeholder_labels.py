"""Labels that may mean that a row has no label."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import label_counts, with_labels
from kamerton.plugins.audits._findings import about, counted, first_of
from kamerton.text.label_values import find_placeholders

ORDER = ("severe", "warning", "note")


class PlaceholderLabels:
    """Find classes such as `None`, `unknown`, `-1`, `нет данных`; certain placeholders are left out before."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare each label with all others, where answers are labels."""
        counts = label_counts(examples, context)
        suspects = find_placeholders(counts.keys()).doubted
        if not suspects:
            return None
        rows = with_labels(examples, context, suspects)
        names = sorted(suspects, key=lambda label: -counts[label])
        title = msg(
            "{rows} {rows:row|rows} with a label that may mean that there is none: {labels}",
            labels=first_of([counted(name, counts[name]) for name in names]),
        )
        remedy = msg(
            "if it does, empty these cells, and the rows are left out; if it is a class, give it a telling name"
        )
        return about(
            "placeholder-labels", rows, examples, title, remedy, severity=min(suspects.values(), key=ORDER.index)
        )
