"""Texts that were read in a wrong encoding before they came here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Joined, msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import chosen, golds_of, texts_of
from kamerton.plugins.audits._findings import about
from kamerton.text.repair import damage_of

MANY = 0.01
"""Share of the rows from which on the damage is learned."""
NAMED = 4


class DamagedEncoding:
    """Find mojibake: `Ã©`, `РџСЂРё`, `Ïðèâåò`, `рТЙЧЕФ`, `????`, `�`."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Check texts, and answers that are texts."""
        damages = {at: damage for at, text in enumerate(texts_of(examples, context)) if (damage := damage_of(text))}
        if context.free:
            golds = enumerate(golds_of(examples, context))
            damages |= {at: damage for at, gold in golds if at not in damages and (damage := damage_of(gold))}
        if not damages:
            return None
        rows = chosen(examples, damages)
        kinds = Counter(damages.values()).most_common(NAMED)
        title = msg(
            "{rows} {rows:row|rows} ({share}) with damaged letters: {kinds}",
            kinds=Joined(tuple(msg("{damage} ({rows})", damage=damage, rows=number) for damage, number in kinds), ", "),
        )
        remedy = msg("`kamerton audit DATA --fix` repairs what it can; lost letters must come from the source")
        return about("damaged-encoding", rows, examples, title, remedy, many=MANY)
