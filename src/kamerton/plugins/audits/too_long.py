"""Rows longer than the model can take."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples, share

NOTEWORTHY = 0.01
"""Share of the rows from which on the cut ones can move the scores by a visible amount."""


class TooLong:
    """Find rows with more tokens than the model takes at once."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare lengths with the limit, where a model is chosen."""
        if context.lengths is None or context.max_tokens is None:
            return None
        long = [
            example for example, length in zip(examples, context.lengths, strict=True) if length > context.max_tokens
        ]
        if not long:
            return None
        rows = f"{count(len(long), 'row')} ({share(len(long), len(examples))})"
        return Finding(
            check="too-long",
            severity="warning" if len(long) > NOTEWORTHY * len(examples) else "note",
            title=f"{rows} have more than {context.max_tokens:,} tokens; the longest has {max(context.lengths):,}",
            remedy="shorten them, choose a model with a longer context, or say what happens to them: "
            "`--set data.too_long=cut`, `drop` or `refuse`",
            rows=ids(long),
            samples=samples(long),
        )
