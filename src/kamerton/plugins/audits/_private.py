"""Findings about private data, which must not be memorized."""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass

from kamerton.core.messages import Joined, Message, msg
from kamerton.core.records import Example
from kamerton.plugins.audits._check import SHOWN, Data, counted, short
from kamerton.text.pii import Family, find_private

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

    rows: list[Example]
    kinds: Set[str]
    listed: Joined
    """The kinds, the commonest first."""
    samples: tuple[Message, ...]


def held(data: Data, family: Family) -> PrivateRows:
    """Find the private data of one family in texts and answers."""
    rows, kinds, shown = dict[int, Example](), Counter[str](), list[Message]()
    common = Counter(data.golds).most_common(REPEATED) if data.context.stratified else ()
    safe = {gold for gold, _ in common if not find_private(gold, family)}
    for at, pair in enumerate(zip(data.texts, data.golds, strict=True)):
        for text in pair:
            if text in safe or not (mine := find_private(text, family)):
                continue
            if at not in rows and len(shown) < SHOWN:
                place, excerpt = str(data.examples[at].place), short(text, mine[0].start)
                shown.append(msg("{place}: {kind} in {text}", place=place, kind=KINDS[mine[0].kind], text=excerpt))
            rows[at] = data.examples[at]
            kinds.update(one.kind for one in mine)
    listed = Joined(counted((KINDS[kind], number) for kind, number in kinds.most_common()), ", ")
    return PrivateRows(list(rows.values()), kinds.keys(), listed, tuple(shown))
