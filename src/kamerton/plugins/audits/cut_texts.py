"""Texts that were cut where a program takes no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._texts import texts_of
from kamerton.plugins.audits._wording import ids, samples

SPREADSHEET = 32_767
"""Most characters of a cell of Excel and LibreOffice (support.microsoft.com, "Excel specifications and limits")."""
SHORTEST = 200
"""Texts of fewer letters are of one length by chance, or meant to be."""
FEWEST, SHARE = 5, 0.01
"""Texts of the greatest length, and their share of all texts, from which on that length is a limit."""
ENDS = frozenset(".!?…»”\"')]}>;:")


class CutTexts:
    """Find texts of exactly the greatest length that a spreadsheet or a database column holds."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Look at the lengths of texts, and of answers that are texts."""
        texts = texts_of(examples, context)
        lengths = Counter(map(len, texts))
        limit = SPREADSHEET if lengths[SPREADSHEET] else max(lengths, default=0)
        cut = [at for at, text in enumerate(texts) if len(text) == limit] if self._is_limit(lengths, limit) else []
        rows = [examples[at] for at in cut]
        torn = [example for example in rows if example.text[-1] not in ENDS]
        if not rows or (limit != SPREADSHEET and 2 * len(torn) < len(rows)):
            return None
        where = "the most that a spreadsheet's cell holds" if limit == SPREADSHEET else "and no text is longer"
        return Finding(
            check="cut-texts",
            severity="warning",
            title=f"texts of exactly {limit:,} letters, {where}: {len(rows):,}; their ends were probably cut off",
            remedy="take the whole texts from the source again, without a spreadsheet or a column that is too short",
            rows=ids(rows),
            samples=samples(rows),
        )

    def _is_limit(self, lengths: Counter[int], limit: int) -> bool:
        if limit == SPREADSHEET:
            return True
        return limit >= SHORTEST and lengths[limit] >= max(FEWEST, SHARE * lengths.total())
