"""Personal data in the rows."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, Severity
from kamerton.plugins.audits._private import held

GRAVE = {"card", "SNILS", "INN", "passport", "IBAN"}
"""Kinds that always deserve a warning."""


class PersonalData(Check):
    """Find e-mail addresses, telephone, card, account and document numbers; they are shown masked."""

    def find(self, data: Data) -> Finding | None:
        """Search texts and answers."""
        found = held(data, "person")
        severity: Severity | None = None if GRAVE.isdisjoint(found.kinds) else "warning"
        title = msg("personal data in {rows} {rows:row|rows} ({share}): {kinds}", kinds=found.listed)
        remedy = msg(
            "a tuned model can repeat them: replace each by one word, such as EMAIL, also in the requests that the "
            "model will get"
        )
        return data.about("personal-data", found.rows, title, remedy, severity=severity, many=0.01, shown=found.samples)
