"""Rows without a text or without an answer."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples


class EmptyFields:
    """Find rows whose text or gold answer is blank; they can teach nothing and are dropped."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for blank texts and answers."""
        rows = [e for e in examples if not (e.text.strip() and e.gold.strip()) or _lacks(e, context.learned_from)]
        if not rows:
            return None
        texts = sum(not example.text.strip() for example in rows)
        golds = sum(not e.gold.strip() or _lacks(e, context.learned_from) for e in rows)
        return Finding(
            check="empty-fields",
            severity="severe" if len(rows) == len(examples) else "warning",
            title=f"{count(len(rows), 'row')} without a text ({texts}) or without an answer ({golds})",
            remedy="they are left out; fill them in to use them",
            rows=ids(rows),
            drop=ids(rows),
            samples=samples(rows),
        )


def _lacks(example: Example, roles: Sequence[str]) -> bool:
    """Return whether one of the answers that a row teaches by is blank: a rejected one."""
    return any(isinstance(answer := example.fields.get(role), str) and not answer.strip() for role in roles)
