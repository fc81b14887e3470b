"""Answers that only repeat the input."""

from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data

LEAST = 25
"""Characters from which on an input inside an answer is a copy, not a word that both have."""


class CopiedInput(Check):
    """Find answers that are the input, or begin with all of it."""

    def find(self, data: Data) -> Finding | None:
        """Compare answers with inputs, where answers are free texts."""
        rows = [example for example in data.examples if _copies(example)] if data.context.free else []
        title = msg("{rows} {rows:answer repeats|answers repeat} the input ({share})")
        remedy = msg(
            "if the answer should not contain the question, remove it there; where nothing was to be changed, this "
            "may be intended"
        )
        return data.about("copied-input", rows, title, remedy, many=0.05)


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
