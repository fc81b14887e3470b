"""The texts of examples, without making the examples: of a million rows, each look at all of them takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example


def texts_of(examples: Sequence[Example], context: AuditContext) -> Sequence[str]:
    """Return the text of each example."""
    return context.texts if context.texts is not None else [example.text for example in examples]


def chosen(examples: Sequence[Example], *places: Iterable[int]) -> list[Example]:
    """Return the examples at places, each once, in their order."""
    return [examples[at] for at in sorted({at for some in places for at in some})]
