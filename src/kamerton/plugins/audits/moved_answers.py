"""Answers that are not at the position that the data give."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._findings import about, first_of, noted, quote

MANY = 0.05


class MovedAnswers:
    """Find answers whose position is wrong, and which were found elsewhere in their context."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Collect the answers that the task found at another position."""
        rows, texts = noted(examples, "moved")
        if not rows or context.answers != "span":
            return None
        title = msg(
            "{rows} {rows:row|rows} ({share}) whose answer is not at the given position: {texts}",
            texts=first_of([quote(text) for text in dict.fromkeys(texts)]),
        )
        remedy = msg("each is taken where it was found; correct the positions, or remove their column")
        return about("moved-answers", rows, examples, title, remedy, many=MANY)
