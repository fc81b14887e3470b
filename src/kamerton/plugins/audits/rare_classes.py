"""Classes with too few rows to learn, or to be tested."""

from collections import defaultdict

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data, first_of, quote

RARE = 10
"""Below this many texts a class has one or two test rows at most, too few to judge it by."""
PARTS = 3
"""Training, validation and test need a text each."""


class RareClasses(Check):
    """Find a single class, classes that cannot be in every part of the split, and classes with few texts."""

    def find(self, data: Data) -> Finding | None:
        """Count the different texts of each class, where answers are classes."""
        if not data.context.stratified:
            return None
        texts: dict[str, set[str]] = defaultdict(set)
        for example in data.examples:
            if example.text.strip() and example.gold.strip():
                texts[example.gold].add(example.key)
        if len(texts) == 1:
            title = msg("every row has the same class, '{name}'", name=next(iter(texts)))
            remedy = msg("add rows of another class: from one class there is nothing to learn")
            return Finding("rare-classes", "severe", title, remedy)
        rare = sorted((name for name, keys in texts.items() if len(keys) < RARE), key=lambda name: len(texts[name]))
        torn = [name for name in rare if len(texts[name]) < PARTS]
        names = first_of([quote(name) for name in torn or rare])
        if torn:
            title = msg(
                "{count} {count:class has|classes have} fewer than {parts} texts and cannot be in training, "
                "validation and test: {names}",
                count=len(torn),
                parts=PARTS,
                names=names,
            )
        else:
            template = "{count} {count:class has|classes have} fewer than {least} texts: {names}"
            title = msg(template, count=len(rare), least=RARE, names=names)
        remedy = msg("collect more rows of them, merge them with a similar class, or leave them out")
        rows = [example for example in data.examples if example.gold in set(rare)]
        return data.about("rare-classes", rows, title, remedy, severity="severe" if torn else "warning")
