"""Findings about what should not be learnt by heart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example
from kamerton.plugins.audits._labels import golds_of
from kamerton.plugins.audits._texts import texts_of
from kamerton.plugins.audits._wording import SHOWN, count, share, short
from kamerton.text.pii import Family, Private, find_private

REPEATED = 1000
"""Answers that are looked at once, however many rows have them: labels."""


@dataclass(frozen=True)
class Held:
    """Examples that hold private things, and how many of each kind."""

    rows: tuple[int, ...]
    kinds: Counter[str]
    samples: tuple[str, ...]

    def title(self, whole: int) -> str:
        """Say how many there are, of which kinds, in how many rows."""
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in self.kinds.most_common())
        return f"{count(len(self.rows), 'row')} ({share(len(self.rows), whole)}): {kinds}"


def held(examples: Sequence[Example], context: AuditContext, family: Family) -> Held | None:
    """Find the private things of one family in texts and answers; None if there are none."""
    found: dict[int, list[Private]] = defaultdict(list)
    shown: list[str] = []
    golds = golds_of(examples, context)
    common = Counter(golds).most_common(REPEATED) if context.stratified else ()
    safe = {gold for gold, _ in common if not find_private(gold, family)}
    for at, pair in enumerate(zip(texts_of(examples, context), golds, strict=True)):
        for text in pair:
            if text in safe or not (mine := find_private(text, family)):
                continue
            example = examples[at]
            if example.id not in found and len(shown) < SHOWN:
                shown.append(f"{example.place}: {mine[0].kind} in {short(text, mine[0].start)}")
            found[example.id] += mine
    rows = tuple(found)
    kinds = Counter(one.kind for mine in found.values() for one in mine)
    return Held(rows, kinds, tuple(shown)) if rows else None
