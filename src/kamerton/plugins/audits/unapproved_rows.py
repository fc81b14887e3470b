"""Rows whose annotation was not approved, where others were."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.cells import filled

APPROVERS = ("annotation_approver", "approver", "approved_by", "reviewer", "reviewed_by", "verified_by", "проверил")
"""Columns with the name of the approver, as in doccano; empty where there was none."""


class UnapprovedRows(Check):
    """Find rows that were annotated but not approved."""

    def find(self, data: Data) -> Finding | None:
        """Find a column of approvers that is filled in some rows only."""
        for column, cells in data.context.columns.items():
            if column.casefold() not in APPROVERS:
                continue
            rows = [example for example, cell in zip(data.examples, cells, strict=True) if not filled(cell)]
            if 0 < len(rows) < len(data.examples):
                title = msg("{rows} {rows:row|rows} ({share}) that nobody approved: '{column}' is empty", column=column)
                remedy = msg("they are used like the others; remove them to train on approved rows only")
                return data.about("unapproved-rows", rows, title, remedy, severity="note")
        return None
