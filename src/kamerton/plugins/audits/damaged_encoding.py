"""Texts that were read in a wrong encoding before they came here."""

from collections import Counter

from kamerton.core.messages import Joined, msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.repair import damage_of

MANY = 0.01
"""Share of the rows from which on the damage is learned."""


class DamagedEncoding(Check):
    """Find mojibake: `Ã©`, `РџСЂРё`, `Ïðèâåò`, `рТЙЧЕФ`, `????`, `�`."""

    def find(self, data: Data) -> Finding | None:
        """Check texts, and answers that are texts."""
        damages = {at: damage for at, text in enumerate(data.texts) if (damage := damage_of(text))}
        for at, gold in enumerate(data.golds if data.context.free else ()):
            if at not in damages and (damage := damage_of(gold)):
                damages[at] = damage
        kinds = Counter(damages.values()).most_common(4)
        title = msg(
            "{rows} {rows:row|rows} ({share}) with damaged letters: {kinds}",
            kinds=Joined([msg("{damage} ({rows})", damage=damage, rows=number) for damage, number in kinds], ", "),
        )
        remedy = msg("`kamerton audit DATA --fix` repairs what it can; lost letters must come from the source")
        return data.about("damaged-encoding", data.at(damages), title, remedy, many=MANY)
