"""Keys and passwords in the rows."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, Severity
from kamerton.plugins.audits._private import held


class LeakedSecrets(Check):
    """Find access keys, tokens, private keys and passwords; they are shown masked."""

    def find(self, data: Data) -> Finding | None:
        """Search texts and answers: a key is known by its form, a password only by the word before it."""
        found = held(data, "secret")
        severity: Severity = "severe" if "key" in found.kinds else "warning"
        title = msg("secrets in {rows} {rows:row|rows} ({share}): {kinds}", kinds=found.listed)
        remedy = msg("remove them, and have the real ones revoked: a tuned model can repeat them")
        return data.about("leaked-secrets", found.rows, title, remedy, severity=severity, shown=found.samples)
