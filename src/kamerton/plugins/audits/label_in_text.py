"""Texts that hold their own label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._labels import golds_of
from kamerton.plugins.audits._texts import texts_of
from kamerton.plugins.audits._wording import count, ids, samples, share

SHORTEST = 3
"""Letters of a label that is looked for: shorter ones are words of every text."""
TELLING = 0.9
"""Share of the texts with a label's name that have that label, from which on the name gives it away."""
NOTED, WARNED, SEVERE = 0.02, 0.3, 0.8
"""Shares of all rows. Texts do speak of their topic; where nearly all hold their label it was pasted in."""
MOST_LABELS = 1000


class LabelInText:
    """Find texts in which a label's name stands and tells the label."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look for labels' names as whole words in the texts, where answers are classes."""
        if not context.stratified:
            return None
        golds = set(golds_of(examples, context))
        names = {gold.casefold() for gold in golds if len(gold) >= SHORTEST and any(map(str.isalpha, gold))}
        if len(names) < 2 or len(names) > MOST_LABELS:
            return None
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, names), key=len, reverse=True))})(?!\w)")
        named, right = Counter[str](), list[Example]()
        for at, text in enumerate(texts_of(examples, context)):
            if said := set(pattern.findall(text.casefold())):
                named.update(said)
                if len(said) == 1 and examples[at].gold.casefold() in said:
                    right.append(examples[at])
        held = Counter(example.gold.casefold() for example in right)
        telling = {name for name in held if held[name] >= TELLING * named[name]}
        rows = [example for example in right if example.gold.casefold() in telling]
        if len(rows) <= NOTED * len(examples):
            return None
        part = len(rows) / len(examples)
        return Finding(
            check="label-in-text",
            severity="severe" if part > SEVERE else "warning" if part > WARNED else "note",
            title=f"{count(len(rows), 'text')} ({share(len(rows), len(examples))}) hold the name of their own label, "
            f"and {count(len(telling), 'label')} can be read off so",
            remedy="if the label was put into the text, take it out: what the model will be asked does not hold it",
            rows=ids(rows),
            samples=samples(rows),
        )
