"""Rows made from one template, which differ only in their numbers."""

import re
from collections import defaultdict
from collections.abc import Sequence

from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data, samples

NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
LEAST_ROWS = 5
LEAST_LETTERS = 10
"""Letters that a template has at least beside its numbers: sums and codes are no templates."""


class TemplateRows(Check):
    """Find texts that differ only in numbers, dates and times."""

    def find(self, data: Data) -> Finding | None:
        """Group the texts by what remains without their numbers."""
        places: dict[int, list[int]] = defaultdict(list)  # by hash: the texts may be too many to hold
        for at, text in enumerate(data.texts):
            bare, gaps = NUMBER.subn("0", text[:2000])
            if gaps:
                places[hash(" ".join(bare.casefold().split()))].append(at)
        groups = [[data.examples[at] for at in found] for found in places.values() if len(found) >= LEAST_ROWS]
        made = [group for group in groups if _is_template(group)]
        rows = [example for group in sorted(made, key=len, reverse=True) for example in group]
        title = msg(
            "{rows} {rows:row|rows} ({share}) made from {templates} {templates:template|templates} differ only in "
            "numbers",
            templates=len(made),
        )
        remedy = msg("if a program wrote them, keep a few of each: scores of such rows tell little about others")
        shown = samples(group[0] for group in made)
        return data.about("template-rows", rows, title, remedy, many=0.05, shown=shown)


def _is_template(group: Sequence[Example]) -> bool:
    return sum(map(str.isalpha, group[0].text)) >= LEAST_LETTERS and len({e.key for e in group}) > 1
