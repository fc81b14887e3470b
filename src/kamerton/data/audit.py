"""Run every check of the data."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton import plugins
from kamerton.contracts import Audit, AuditContext
from kamerton.records import Example, Finding

ORDER = ("severe", "warning", "note")


def run_audit(examples: Sequence[Example], context: AuditContext) -> list[Finding]:
    """Run all checks of `audits/` and return what they found, the severe first."""
    checks: list[Audit] = [plugins.choose("audits", word)() for word in plugins.names("audits")]
    findings = [finding for check in checks if (finding := check.check(examples, context))]
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))
