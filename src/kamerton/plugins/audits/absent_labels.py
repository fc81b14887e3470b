"""Labels that the data name and no row has."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import golds_of, label_counts
from kamerton.plugins.audits._findings import first_of, quote


class AbsentLabels:
    """Find label columns of yes and no that always say no, and numbers that are all the same."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare the labels of the rows with those that have a column."""
        if context.answers == "number":
            return _same_number(golds_of(examples, context))
        known = label_counts(examples, context) if context.labels else {}
        names = [quote(label) for label in context.labels if label not in known]
        if not names:
            return None
        return Finding(
            check="absent-labels",
            severity="warning",
            title=msg("{count} {count:label|labels} that no row has: {names}", count=len(names), names=first_of(names)),
            remedy=msg("the model cannot learn them; add rows that have them, or remove their columns"),
        )


def _same_number(golds: Sequence[str]) -> Finding | None:
    numbers = {*golds} - {""}
    if len(numbers) != 1:
        return None
    return Finding(
        check="absent-labels",
        severity="severe",
        title=msg("every row has the same number, {number}", number=numbers.pop()),
        remedy=msg("add rows with other numbers: from one number there is nothing to learn"),
    )
