"""Keys and passwords in the rows."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import share
from kamerton.plugins.audits._private import held


class LeakedSecrets:
    """Find access keys, tokens, private keys and passwords; they are shown masked."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Search texts and answers: a key is known by its form, a password only by the word before it."""
        found = held(examples, context, "secret")
        if not found:
            return None
        return Finding(
            check="leaked-secrets",
            severity="severe" if "key" in found.kinds else "warning",
            title=msg(
                "secrets in {rows} {rows:row|rows} ({share}): {kinds}",
                rows=len(found.rows),
                share=share(found.rows, examples),
                kinds=found.listed,
            ),
            remedy=msg("remove them, and have the real ones revoked: a tuned model can repeat them"),
            rows=found.rows,
            samples=found.samples,
        )
