"""Answers that do not stand where the data say."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, noted, samples, share, some

MANY = 0.05


class MovedAnswers:
    """Find answers whose position is wrong, and which were found elsewhere in their context."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for answers that the task found at another place than the one that is said."""
        rows = [example for example in examples if noted(example, "moved")]
        if not rows or context.answers != "span":
            return None
        texts = list(dict.fromkeys(text for example in rows for text in noted(example, "moved")))
        return Finding(
            check="moved-answers",
            severity="warning" if len(rows) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) whose answer does not stand where "
            f"the data say: {some(texts)}",
            remedy="each is taken where it does stand; correct the positions, or remove their column",
            rows=ids(rows),
            samples=samples(rows),
        )
