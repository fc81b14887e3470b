"""Classes with too few rows to learn, or to be tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._wording import count, ids, samples, some

RARE = 10
"""Below this many texts a class has at most one or two test rows: nothing can be said of it."""
PARTS = 3
"""Training, validation and test need a text each."""


class RareClasses:
    """Find a single class, classes that cannot be in every part of the split, and classes with few texts."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Count the different texts of each class, where answers are classes."""
        if not context.stratified:
            return None
        texts: dict[str, set[str]] = defaultdict(set)
        for example in examples:
            if example.text.strip() and example.gold.strip():
                texts[example.gold].add(example.key)
        if len(texts) == 1:
            return _only(next(iter(texts)))
        rare = sorted((name for name, keys in texts.items() if len(keys) < RARE), key=lambda name: len(texts[name]))
        if not rare:
            return None
        torn = [name for name in rare if len(texts[name]) < PARTS]
        rows = [example for example in examples if example.gold in set(rare)]
        return _rare(rare, torn, rows)


def _only(name: str) -> Finding:
    return Finding(
        check="rare-classes",
        severity="severe",
        title=f"every row has the same class, '{name}'",
        remedy="add rows of another class: with one class there is nothing to learn",
    )


def _rare(rare: Sequence[str], torn: Sequence[str], rows: Sequence[Example]) -> Finding:
    if torn:
        few = count(len(torn), "class has", "classes have")
        title = f"{few} fewer than {PARTS} texts and cannot be in training, validation and test: {some(torn)}"
    else:
        title = f"{count(len(rare), 'class has', 'classes have')} fewer than {RARE} texts: {some(rare)}"
    return Finding(
        check="rare-classes",
        severity="severe" if torn else "warning",
        title=title,
        remedy="collect more rows of them, join them with a class near to them, or leave them out",
        rows=ids(rows),
        samples=samples(rows),
    )
