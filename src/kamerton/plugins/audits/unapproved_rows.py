"""Rows whose annotation nobody approved, where others were."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples, share
from kamerton.text.cells import filled

APPROVERS = ("annotation_approver", "approver", "approved_by", "reviewer", "reviewed_by", "verified_by", "проверил")
"""Columns that name who approved a row, as doccano's; empty where nobody did."""


class UnapprovedRows:
    """Find rows that were annotated but not approved."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for a column of approvers that is filled in some rows only."""
        for column, cells in context.columns.items():
            if column.casefold() not in APPROVERS or not any(map(filled, cells)):
                continue
            rows = [example for example, cell in zip(examples, cells, strict=True) if not filled(cell)]
            if rows:
                return Finding(
                    check="unapproved-rows",
                    severity="note",
                    title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) that nobody approved: "
                    f"'{column}' is empty",
                    remedy="they are used like the others; remove them if only approved rows are to be learnt",
                    rows=ids(rows),
                    samples=samples(rows),
                )
        return None
