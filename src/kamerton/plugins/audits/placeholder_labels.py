"""Labels that may mean that a row has no label."""

from collections import Counter

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, counted, first_of
from kamerton.text.label_values import find_placeholders

ORDER = ("severe", "warning", "note")


class PlaceholderLabels(Check):
    """Find classes such as `None`, `unknown`, `-1`, `нет данных`; certain placeholders are left out before."""

    def find(self, data: Data) -> Finding | None:
        """Compare each label with all others, where answers are labels."""
        counts = data.label_counts()
        suspects = find_placeholders(counts.keys()).doubted
        if not suspects:
            return None
        rows = data.with_labels(suspects)
        found = Counter({label: counts[label] for label in suspects})
        title = msg(
            "{rows} {rows:row|rows} with a label that may mean that there is none: {labels}",
            labels=first_of(counted(found.most_common())),
        )
        remedy = msg(
            "if it does, empty these cells, and the rows are left out; if it is a class, give it a telling name"
        )
        return data.about("placeholder-labels", rows, title, remedy, severity=min(suspects.values(), key=ORDER.index))
