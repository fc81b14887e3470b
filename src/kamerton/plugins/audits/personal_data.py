"""People's data in the rows."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._private import held

MANY = 0.01
GRAVE = {"card", "SNILS", "INN", "passport", "IBAN"}
"""Kinds that are worth a warning wherever they are."""


class PersonalData:
    """Find e-mail addresses, telephone, card, account and document numbers; they are shown masked."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look at texts and answers."""
        found = held(examples, context, "person")
        if not found:
            return None
        many = len(found.rows) > MANY * len(examples) or not GRAVE.isdisjoint(found.kinds)
        return Finding(
            check="personal-data",
            severity="warning" if many else "note",
            title=f"personal data in {found.title(len(examples))}",
            remedy="a tuned model can repeat them: replace them by one word each, such as EMAIL, "
            "also in what the model will be asked",
            rows=found.rows,
            samples=found.samples,
        )
