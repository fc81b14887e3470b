"""Texts that contain their own label."""

import re
from collections import Counter

from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data, Severity

SHORTEST = 3
"""Letters of a label that is searched for: shorter ones are words of every text."""
TELLING = 0.9
"""Share of the texts with a label's name that have that label, from which on the name gives it away."""
NOTED, WARNED, SEVERE = 0.02, 0.3, 0.8
"""Shares of all rows. Texts do name their topic; where nearly all contain their label it was pasted in."""
MOST_LABELS = 1000


class LabelInText(Check):
    """Find texts in which the name of a label gives the label away."""

    def find(self, data: Data) -> Finding | None:
        """Search the texts for the names of labels as whole words, where answers are classes."""
        if not data.context.stratified:
            return None
        names = {gold.casefold() for gold in {*data.golds} if len(gold) >= SHORTEST and any(map(str.isalpha, gold))}
        if len(names) < 2 or len(names) > MOST_LABELS:
            return None
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, names), key=len, reverse=True))})(?!\w)")
        named, right = Counter[str](), list[Example]()
        for at, text in enumerate(data.texts):
            if found := set(pattern.findall(text.casefold())):
                named.update(found)
                if len(found) == 1 and data.examples[at].gold.casefold() in found:
                    right.append(data.examples[at])
        held = Counter(example.gold.casefold() for example in right)
        telling = {name for name in held if held[name] >= TELLING * named[name]}
        rows = [example for example in right if example.gold.casefold() in telling]
        if len(rows) <= NOTED * len(data.examples):
            return None
        part = len(rows) / len(data.examples)
        title = msg(
            "{rows} {rows:text contains|texts contain} the name of their own label ({share}), which gives {labels} "
            "{labels:label|labels} away",
            labels=len(telling),
        )
        remedy = msg("if the label was put into the text, remove it: the requests that the model will get lack it")
        severity: Severity = "severe" if part > SEVERE else "warning" if part > WARNED else "note"
        return data.about("label-in-text", rows, title, remedy, severity=severity)
