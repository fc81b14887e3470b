"""Rows whose annotation was not approved, where others were."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about
from kamerton.text.cells import filled

APPROVERS = ("annotation_approver", "approver", "approved_by", "reviewer", "reviewed_by", "verified_by", "проверил")
"""Columns with the name of the approver, as in doccano; empty where there was none."""


class UnapprovedRows:
    """Find rows that were annotated but not approved."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Find a column of approvers that is filled in some rows only."""
        for column, cells in context.columns.items():
            if column.casefold() not in APPROVERS or not any(map(filled, cells)):
                continue
            rows = [example for example, cell in zip(examples, cells, strict=True) if not filled(cell)]
            if rows:
                title = msg("{rows} {rows:row|rows} ({share}) that nobody approved: '{column}' is empty", column=column)
                remedy = msg("they are used like the others; remove them to train on approved rows only")
                return about("unapproved-rows", rows, examples, title, remedy, severity="note")
        return None
