"""One label in several spellings."""

from collections import defaultdict

from kamerton.core.messages import Joined, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, counted, first_of
from kamerton.text.label_values import main_spellings


class LabelSpellings(Check):
    """Find labels that differ in case, spaces, hyphens, signs that look alike, ё and е, or `1` and `1.0`."""

    def find(self, data: Data) -> Finding | None:
        """Compare the spellings of all labels, where answers are labels."""
        counts = data.label_counts()
        main = main_spellings(counts)
        groups = defaultdict(list)
        for label, whole in main.items():
            groups[whole].append(label)
        spellings = [
            Joined(counted((label, counts[label]) for label in (whole, *others)), " = ")
            for whole, others in groups.items()
        ]
        template = "{labels} {labels:label is|labels are} spelled in several ways: {spellings}"
        title = msg(template, labels=len(groups), spellings=first_of(spellings))
        remedy = msg(
            "`kamerton audit DATA --fix` writes each in one spelling; until then they are learned as different classes"
        )
        return data.about("label-spellings", data.with_labels(main), title, remedy, severity="severe")
