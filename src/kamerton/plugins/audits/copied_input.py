"""Answers that only repeat what was asked."""

from __future__ import annotations

from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples, share

MANY = 0.05
LEAST = 25
"""Characters from which on an input inside an answer is a copy, not a word that both have."""


class CopiedInput:
    """Find answers that are the input, or begin with all of it."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Compare answers with inputs, where answers are free texts."""
        if not context.free:
            return None
        rows = [example for example in examples if _copies(example)]
        if not rows:
            return None
        return Finding(
            check="copied-input",
            severity="warning" if len(rows) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'answer')} ({share(len(rows), len(examples))}) repeat the input",
            remedy="if the answer shall not contain the question, cut it off there; "
            "where nothing was to be changed it may be meant",
            rows=ids(rows),
            samples=samples(rows),
        )


def _copies(example: Example) -> bool:
    text, gold = _normal(example.text), _normal(example.gold)
    if not text or not gold:
        return False
    parts = [_normal(value) for value in example.fields.values() if isinstance(value, str)]
    if gold == text or parts.count(gold) > 1:  # one of them is the answer itself
        return True
    return any(len(part) >= LEAST and part != gold and gold.startswith(part) for part in (text, *parts))


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
