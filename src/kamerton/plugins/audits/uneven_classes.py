"""Classes of very different size."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data

UNEVEN, VERY_UNEVEN = 10, 100
"""Rows of the largest class for each of the smallest."""


class UnevenClasses(Check):
    """Find a largest class many times the smallest."""

    def find(self, data: Data) -> Finding | None:
        """Compare the sizes of the classes, where answers are classes."""
        sizes = data.label_counts().most_common() if data.context.stratified else []
        if not sizes or (ratio := sizes[0][1] / sizes[-1][1]) <= UNEVEN:
            return None
        (largest, most), (smallest, fewest) = sizes[0], sizes[-1]
        template = "'{largest}' has {ratio} times as many rows ({most}) as '{smallest}' ({fewest})"
        title = msg(template, largest=largest, ratio=round(ratio), most=most, smallest=smallest, fewest=fewest)
        remedy = msg(
            "use macro F1, not accuracy, which the largest class alone can make high; more rows of the small classes "
            "help most"
        )
        return Finding("uneven-classes", "warning" if ratio > VERY_UNEVEN else "note", title, remedy)
