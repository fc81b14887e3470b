"""Texts that were read in a wrong encoding before they came here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._labels import golds_of
from kamerton.plugins.audits._texts import chosen, texts_of
from kamerton.plugins.audits._wording import count, ids, samples, share
from kamerton.text.mojibake import damage_of

MANY = 0.01
"""Share of the rows from which on the damage is learnt."""


class DamagedEncoding:
    """Find mojibake: `Ã©`, `РџСЂРё`, `Ïðèâåò`, `рТЙЧЕФ`, `????`, `�`."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look at texts, and at answers that are texts."""
        damages = {at: damage for at, text in enumerate(texts_of(examples, context)) if (damage := damage_of(text))}
        if context.free:
            golds = enumerate(golds_of(examples, context))
            damages |= {at: damage for at, gold in golds if at not in damages and (damage := damage_of(gold))}
        if not damages:
            return None
        rows = chosen(examples, damages)
        kinds = ", ".join(f"{damage} ({number:,})" for damage, number in Counter(damages.values()).most_common(4))
        return Finding(
            check="damaged-encoding",
            severity="warning" if len(rows) > MANY * len(examples) else "note",
            title=f"{count(len(rows), 'row')} ({share(len(rows), len(examples))}) of damaged letters: {kinds}",
            remedy="`kamerton audit DATA --fix` puts right what can be; lost letters must come from the source",
            rows=ids(rows),
            samples=samples(rows),
        )
