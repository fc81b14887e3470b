"""Texts that a spreadsheet replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kamerton.core.contracts import AuditContext
from kamerton.core.messages import msg
from kamerton.core.records import Example, Finding
from kamerton.plugins.audits._examples import chosen, golds_of, texts_of
from kamerton.plugins.audits._findings import about
from kamerton.text.label_values import FAILED

MANY = 0.01
LONGEST = max(map(len, FAILED))
OTHER = re.compile(r"#{3,}|Err:\d{3}")
"""A number that its column was too narrow for; what LibreOffice writes where a formula failed."""
HINT = re.compile(r"\dE|Err:")
SCIENTIFIC = re.compile(r"[+-]?\d(?:[.,]\d+)?E[+-]?\d{2,3}")
"""A long number as a spreadsheet shows it: `1.23457E+11`, its last digits lost."""


class DamagedCells:
    """Find what a spreadsheet left of a formula or a long number: `#NAME?`, `#REF!`, `#ЗНАЧ!`, `1.23457E+11`."""

    def check(self, examples: Sequence[Example], context: AuditContext) -> Finding | None:
        """Match whole texts, and answers that are texts."""
        failed, cut = list[Example](), list[Example]()
        for example in _suspects(examples, context):
            words = [word for cell in _cells(example, context) if len(word := cell.strip()) <= LONGEST]
            if any(word.casefold() in FAILED or OTHER.fullmatch(word) for word in words):
                failed.append(example)
            elif any(map(SCIENTIFIC.fullmatch, words)):
                cut.append(example)
        rows = [*failed, *cut]
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
        return about("damaged-cells", rows, examples, title, remedy, many=MANY)


def _suspects(examples: Sequence[Example], context: AuditContext) -> list[Example]:
    """Return the examples with a sign of damage anywhere."""
    texts, golds = texts_of(examples, context), golds_of(examples, context) if context.free else ()
    found = (at for some in (texts, golds) for at, text in enumerate(some) if "#" in text or HINT.search(text))
    return chosen(examples, found)


def _cells(example: Example, context: AuditContext) -> Iterator[str]:
    yield example.text
    if context.free:
        yield example.gold
    yield from (value for value in example.fields.values() if isinstance(value, str))
