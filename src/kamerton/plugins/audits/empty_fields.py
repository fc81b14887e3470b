"""Rows without a text or without an answer."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about


class EmptyFields:
    """Find rows whose text or gold answer is blank; nothing can be learned from them, so they are dropped."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Find blank texts and answers."""
        rows = [e for e in examples if not (e.text.strip() and e.gold.strip()) or _lacks(e, context.learned_from)]
        title = msg(
            "{rows} {rows:row|rows} without a text ({texts}) or without an answer ({answers})",
            texts=sum(not example.text.strip() for example in rows),
            answers=sum(not e.gold.strip() or _lacks(e, context.learned_from) for e in rows),
        )
        remedy = msg("they are left out; fill them in to use them")
        return about(
            "empty-fields",
            rows,
            examples,
            title,
            remedy,
            severity="severe" if len(rows) == len(examples) else "warning",
            drop=True,
        )


def _lacks(example: Example, roles: Sequence[str]) -> bool:
    """Return whether one of the answers that are learned from is blank: a rejected one."""
    return any(isinstance(answer := example.fields.get(role), str) and not answer.strip() for role in roles)
