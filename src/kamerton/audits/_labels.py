"""The labels of an example."""

from __future__ import annotations

from kamerton.contracts import AuditContext
from kamerton.records import Example
from kamerton.tags import read_list


def labels_of(example: Example, context: AuditContext) -> list[str]:
    """List the labels of an example, none where answers are no labels."""
    if not example.gold.strip():
        return []
    if context.answers == "classes":
        return read_list(example.gold)
    return [example.gold] if context.stratified else []
