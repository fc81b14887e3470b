"""Rows longer than the model can take."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about

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
        title = msg(
            "{rows} {rows:row has|rows have} more than {limit} tokens ({share}); the longest has {longest}",
            limit=context.max_tokens,
            longest=max(context.lengths),
        )
        remedy = msg(
            "shorten them, choose a model with a longer context, or decide what happens to them: "
            "`--set data.too_long=cut`, `drop` or `refuse`"
        )
        return about("too-long", long, examples, title, remedy, many=NOTEWORTHY)
