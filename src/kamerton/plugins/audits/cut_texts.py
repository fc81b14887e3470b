"""Texts that were cut at the longest length that a program takes."""

from collections import Counter

from kamerton.core.messages import msg
from kamerton.core.records import Finding
from kamerton.plugins.audits._check import Check, Data

SPREADSHEET = 32_767
"""Most characters of a cell of Excel and LibreOffice (support.microsoft.com, "Excel specifications and limits")."""
SHORTEST = 200
"""Texts of fewer characters are of one length by chance, or intended to be."""
FEWEST, SHARE = 5, 0.01
"""Texts of the greatest length, and their share of all texts, from which on that length is a limit."""
ENDS = frozenset(".!?…»”\"')]}>;:")


class CutTexts(Check):
    """Find texts of exactly the greatest length that a spreadsheet or a database column holds."""

    def find(self, data: Data) -> Finding | None:
        """Count the texts of the greatest length, and of these the ones that end in the middle of a sentence."""
        lengths = Counter(map(len, data.texts))
        of_cells = SPREADSHEET in lengths
        limit = SPREADSHEET if of_cells else max(lengths, default=0)
        if not of_cells and (limit < SHORTEST or lengths[limit] < max(FEWEST, SHARE * lengths.total())):
            return None
        rows = [data.examples[at] for at, text in enumerate(data.texts) if len(text) == limit]
        if not of_cells and 2 * sum(example.text[-1] not in ENDS for example in rows) < len(rows):
            return None
        why = msg("the most that a spreadsheet cell holds") if of_cells else msg("and no text is longer")
        template = "{rows} {rows:text|texts} of exactly {limit} characters, {why}: the ends were probably cut off"
        title = msg(template, limit=limit, why=why)
        remedy = msg(
            "export the whole texts from the source again, without a spreadsheet or a column that is too short"
        )
        return data.about("cut-texts", rows, title, remedy)
