"""Findings about private data, which must not be memorized."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example
from kamerton.plugins.audits._examples import golds_of, texts_of
from kamerton.plugins.audits._findings import SHOWN, counted, short
from kamerton.text.pii import Family, Private, find_private

REPEATED = 1000
"""So many of the commonest answers, which are labels, are searched only once."""
KINDS = {
    str(name): name
    for name in (
        msg("e-mail"), msg("phone"), msg("card"), msg("SNILS"), msg("INN"), msg("IBAN"), msg("passport"), msg("key"),
        msg("password")
    )
}  # fmt: skip


@dataclass(frozen=True)
class PrivateRows:
    """Examples with private data, and how many of each kind."""

    rows: tuple[int, ...]
    kinds: Counter[str]
    samples: tuple[Message, ...]

    @property
    def listed(self) -> Joined:
        """The kinds, the commonest first."""
        return Joined(tuple(counted(KINDS[kind], number) for kind, number in self.kinds.most_common()), ", ")


def held(examples: Sequence[Example], context: AuditContext, family: Family) -> PrivateRows | None:
    """Find the private data of one family in texts and answers; None if there are none."""
    found: dict[int, list[Private]] = defaultdict(list)
    shown: list[Message] = []
    golds = golds_of(examples, context)
    common = Counter(golds).most_common(REPEATED) if context.stratified else ()
    safe = {gold for gold, _ in common if not find_private(gold, family)}
    for at, pair in enumerate(zip(texts_of(examples, context), golds, strict=True)):
        for text in pair:
            if text in safe or not (mine := find_private(text, family)):
                continue
            example = examples[at]
            if example.id not in found and len(shown) < SHOWN:
                place, excerpt = str(example.place), short(text, mine[0].start)
                shown.append(msg("{place}: {kind} in {text}", place=place, kind=KINDS[mine[0].kind], text=excerpt))
            found[example.id] += mine
    kinds = Counter(one.kind for mine in found.values() for one in mine)
    return PrivateRows(tuple(found), kinds, tuple(shown)) if found else None
