"""Labels that the data name and no row has."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._labels import golds_of, label_counts
from kamerton.plugins.audits._wording import count, some


class AbsentLabels:
    """Find columns of yes and no, each of which is a label, that always say no; and numbers that are all the same."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the labels of the rows with those that have a column."""
        if context.answers == "number":
            return _same_number(golds_of(examples, context))
        known = label_counts(examples, context) if context.labels else {}
        names = [label for label in context.labels if label not in known]
        if not names:
            return None
        return Finding(
            check="absent-labels",
            severity="warning",
            title=f"{count(len(names), 'label')} that no row has: {some(names)}",
            remedy="the model cannot learn them and will never give them; add rows that have them, or leave their "
            "columns out",
        )


def _same_number(golds: Sequence[str]) -> Finding | None:
    numbers = {*golds} - {""}
    if len(numbers) != 1:
        return None
    return Finding(
        check="absent-labels",
        severity="severe",
        title=f"every row has the same number, {next(iter(numbers))}",
        remedy="add rows with other numbers: with one number there is nothing to learn",
    )
