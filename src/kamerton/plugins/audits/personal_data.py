"""Personal data in the rows."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import graded, share
from kamerton.plugins.audits._private import held

MANY = 0.01
GRAVE = {"card", "SNILS", "INN", "passport", "IBAN"}
"""Kinds that always deserve a warning."""


class PersonalData:
    """Find e-mail addresses, telephone, card, account and document numbers; they are shown masked."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Search texts and answers."""
        found = held(examples, context, "person")
        if not found:
            return None
        grave = not GRAVE.isdisjoint(found.kinds)
        return Finding(
            check="personal-data",
            severity="warning" if grave else graded(found.rows, examples, MANY),
            title=msg(
                "personal data in {rows} {rows:row|rows} ({share}): {kinds}",
                rows=len(found.rows),
                share=share(found.rows, examples),
                kinds=found.listed,
            ),
            remedy=msg(
                "a tuned model can repeat them: replace each by one word, such as EMAIL, also in the requests that "
                "the model will get"
            ),
            rows=found.rows,
            samples=found.samples,
        )
