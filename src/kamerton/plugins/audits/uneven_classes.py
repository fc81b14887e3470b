"""Classes of very different size."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import label_counts

UNEVEN, VERY_UNEVEN = 10, 100
"""Rows of the largest class for each of the smallest."""


class UnevenClasses:
    """Find a largest class many times the smallest."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the sizes of the classes, where answers are classes."""
        sizes = label_counts(examples, context).most_common() if context.stratified else []
        if not sizes:
            return None
        (largest, most), (smallest, fewest) = sizes[0], sizes[-1]
        ratio = most / fewest
        if ratio <= UNEVEN:
            return None
        return Finding(
            check="uneven-classes",
            severity="warning" if ratio > VERY_UNEVEN else "note",
            title=msg(
                "'{largest}' has {ratio} times as many rows ({most}) as '{smallest}' ({fewest})",
                largest=largest,
                ratio=round(ratio),
                most=most,
                smallest=smallest,
                fewest=fewest,
            ),
            remedy=msg(
                "use macro F1, not accuracy, which the largest class alone can make high; more rows of the small "
                "classes help most"
            ),
        )
