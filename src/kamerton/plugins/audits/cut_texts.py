"""Texts that were cut at the longest length that a program takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import texts_of
from kamerton.plugins.audits._findings import about

SPREADSHEET = 32_767
"""Most characters of a cell of Excel and LibreOffice (support.microsoft.com, "Excel specifications and limits")."""
SHORTEST = 200
"""Texts of fewer characters are of one length by chance, or intended to be."""
FEWEST, SHARE = 5, 0.01
"""Texts of the greatest length, and their share of all texts, from which on that length is a limit."""
ENDS = frozenset(".!?…»”\"')]}>;:")


class CutTexts:
    """Find texts of exactly the greatest length that a spreadsheet or a database column holds."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Count the texts of the greatest length, and of these the ones that end in the middle of a sentence."""
        texts = texts_of(examples, context)
        lengths = Counter(map(len, texts))
        limit = SPREADSHEET if lengths[SPREADSHEET] else max(lengths, default=0)
        rows = (
            [examples[at] for at, text in enumerate(texts) if len(text) == limit] if _is_limit(lengths, limit) else []
        )
        torn = [example for example in rows if example.text[-1] not in ENDS]
        if not rows or (limit != SPREADSHEET and 2 * len(torn) < len(rows)):
            return None
        why = msg("the most that a spreadsheet cell holds") if limit == SPREADSHEET else msg("and no text is longer")
        title = msg(
            "{rows} {rows:text|texts} of exactly {limit} characters, {why}: the ends were probably cut off",
            limit=limit,
            why=why,
        )
        remedy = msg(
            "export the whole texts from the source again, without a spreadsheet or a column that is too short"
        )
        return about("cut-texts", rows, examples, title, remedy)


def _is_limit(lengths: Counter[int], limit: int) -> bool:
    if limit == SPREADSHEET:
        return True
    return limit >= SHORTEST and lengths[limit] >= max(FEWEST, SHARE * lengths.total())
