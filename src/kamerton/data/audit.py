"""Run the audit checks over the examples of a data file."""

from collections.abc import Mapping, Sequence

from kamerton.core import registry
from kamerton.core.contracts import Audit, AuditContext
from kamerton.core.records import Example, Finding
from kamerton.data.cells import unused
from kamerton.data.table import Table

LONGEST = 100
"""Characters kept of a value in an unused column: values that identify rows are shorter."""
HELD = 100_000
"""Most examples that are held in memory for all checks, not made for each: they take three times as much."""
ORDER = ("severe", "warning", "note")


def run_audit(examples: Sequence[Example], context: AuditContext) -> list[Finding]:
    """Run all checks of `audits/` and return their findings, the severe ones first."""
    checks: list[Audit] = [registry.choose("audits", word)() for word in registry.names("audits")]
    held = list(examples) if len(examples) <= HELD else examples
    findings = [finding for check in checks if (finding := check.check(held, context))]
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def other_columns(table: Table, examples: Sequence[Example], roles: Mapping[str, str]) -> dict[str, list[object]]:
    """Return the values of the columns without a role, in the examples' order; none for more than `HELD` examples."""
    names = unused(table.columns, roles) if len(examples) <= HELD else []
    wanted = {example.id for example in examples}
    rows = [row.values for row in table.rows if row.id in wanted] if names else []
    cells = {name: [values.get(name) for values in rows] for name in names}
    return {name: [cell[:LONGEST] if isinstance(cell, str) else cell for cell in some] for name, some in cells.items()}
