"""Run every check of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kamerton.core import registry
from kamerton.core.contracts import Audit, AuditContext
from kamerton.core.records import Example, Finding
from kamerton.data.cells import unused
from kamerton.data.table import Table

LONGEST = 100
"""Characters of a value in a column beside the text: what tells rows apart is shorter."""
HELD = 100_000
"""Most examples that are made once for all checks, not once for each: they take three times the memory."""
ORDER = ("severe", "warning", "note")


def run_audit(examples: Sequence[Example], context: AuditContext) -> list[Finding]:
    """Run all checks of `audits/` and return what they found, the severe first."""
    checks: list[Audit] = [registry.choose("audits", word)() for word in registry.names("audits")]
    held = list(examples) if len(examples) <= HELD else examples
    findings = [finding for check in checks if (finding := check.check(held, context))]
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def other_columns(table: Table, examples: Sequence[Example], roles: Mapping[str, str]) -> dict[str, list[object]]:
    """Give the columns that play no role, their values in the order of the examples; none where they are too many.

    Args:
        table: as it was read.
        examples: made of some of its rows.
        roles: role to column.

    """
    names = unused(table.columns, roles) if len(examples) <= HELD else []
    columns: dict[str, list[object]] = {name: [] for name in names}
    wanted = {example.id for example in examples}
    for row in table.rows if names else ():
        if row.id in wanted:
            for name in names:
                value = row.values.get(name)
                columns[name].append(value[:LONGEST] if isinstance(value, str) else value)
    return columns
