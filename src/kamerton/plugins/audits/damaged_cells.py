"""Texts that a spreadsheet replaced."""

import re

from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._check import Check, Data
from kamerton.text.label_values import FAILED

MANY = 0.01
LONGEST = max(map(len, FAILED))
OTHER = re.compile(r"#{3,}|Err:\d{3}")
"""A number that its column was too narrow for; what LibreOffice writes where a formula failed."""
HINT = re.compile(r"\dE|Err:")
SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,]\d+)?E[+-]?\d{2,3}")
"""A long number as a spreadsheet shows it: `1.23457E+11`, its last digits lost."""


class DamagedCells(Check):
    """Find what a spreadsheet left of a formula or a long number: `#NAME?`, `#REF!`, `#ЗНАЧ!`, `1.23457E+11`."""

    def find(self, data: Data) -> Finding | None:
        """Match whole texts, and answers that are texts."""
        failed, cut = list[Example](), list[Example]()
        some = [data.texts, data.golds] if data.context.free else [data.texts]
        for example in data.at(at for side in some for at, text in enumerate(side) if "#" in text or HINT.search(text)):
            cells = [example.text, *([example.gold] if data.context.free else []), *example.fields.values()]
            words = [word for cell in cells if isinstance(cell, str) and len(word := cell.strip()) <= LONGEST]
            if any(word.casefold() in FAILED or OTHER.fullmatch(word) for word in words):
                failed.append(example)
            elif any(map(SCIENTIFIC.fullmatch, words)):
                cut.append(example)
        title = msg(
            "{rows} {rows:row|rows} ({share}) damaged by a spreadsheet: failed formulas in {failed}, shortened "
            "numbers in {cut}",
            failed=len(failed),
            cut=len(cut),
        )
        remedy = msg(
            "a text that begins with = or - was taken for a formula, a long number was rounded: export these cells "
            "from the source again, with the column's format set to text"
        )
        return data.about("damaged-cells", [*failed, *cut], title, remedy, many=MANY)
