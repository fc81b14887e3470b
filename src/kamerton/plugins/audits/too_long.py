"""Rows longer than the model can take."""

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data

NOTEWORTHY = 0.01
"""Share of the rows from which on the cut ones can move the scores by a visible amount."""


class TooLong(Check):
    """Find rows with more tokens than the model takes at once."""

    def find(self, data: Data) -> Finding | None:
        """Compare lengths with the limit, where a model is chosen."""
        lengths, limit = data.context.lengths, data.context.max_tokens
        if lengths is None or limit is None:
            return None
        long = [example for example, length in zip(data.examples, lengths, strict=True) if length > limit]
        template = "{rows} {rows:row has|rows have} more than {limit} tokens ({share}); the longest has {longest}"
        title = msg(template, limit=limit, longest=max(lengths))
        remedy = msg(
            "shorten them, choose a model with a longer context, or decide what happens to them: "
            "`--set data.too_long=cut`, `drop` or `refuse`"
        )
        return data.about("too-long", long, title, remedy, many=NOTEWORTHY, changes=({"data.too_long": "drop"},))
