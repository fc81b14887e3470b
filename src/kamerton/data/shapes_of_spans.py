"""Tables with a span a row: the text stands beside the offsets of each of its spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kamerton.core.messages import msg
from kamerton.data.cells import LOOKED_AT
from kamerton.data.shape import passed_on
from kamerton.data.spelling import called
from kamerton.data.table import Collector, Table
from kamerton.forms.offsets import ENDS, KINDS, STARTS
from kamerton.text.cells import filled, plain

WHOLE = ("text", "sentence", "content", "document", "full_text", "текст", "предложение")
PIECE = ("word", "span", "span_text", "surface", "mention", "entity_text", "entity_value", "слово", "фрагмент")
"""Names of the text as a whole, and of what a span cuts out of it."""
ASKED = ("question", "query", "answer", "вопрос", "ответ")
"""Columns that make of a start and an end the place of an answer."""
MOST = 0.9
"""Share of the rows whose offsets must lie in their text."""


def spans_a_row(table: Table) -> Table | None:
    """Return a table with a row for each text and its spans; None if the rows hold no spans."""
    found = {role: called(names, table.columns) for role, names in _ROLES.items()}
    if any(len(found[role]) != 1 for role in ("text", "start", "end", "label")) or called(ASKED, table.columns):
        return None
    columns = {role: names[0] for role, names in found.items() if len(names) == 1}
    some = [row.values for row in table.rows[:LOOKED_AT] if filled(row.values.get(columns["start"]))]
    if not some or sum(_lies(values, columns) for values in some) < MOST * len(some):
        return None
    return _gathered(table, columns)


_ROLES = {"text": WHOLE, "start": STARTS, "end": ENDS, "label": KINDS, "word": PIECE}


def _lies(values: Mapping[str, object], columns: Mapping[str, str]) -> bool:
    start, end = (_number(values.get(columns[role])) for role in ("start", "end"))
    return start is not None and end is not None and start < end <= len(plain(values.get(columns["text"]))) + 1


def _number(cell: object) -> int | None:
    written = plain(cell).strip()
    return int(written) if written.isdecimal() else None


def _gathered(table: Table, columns: Mapping[str, str]) -> Table:
    rows, texts = Collector(table.file), dict[str, tuple[int, list[object]]]()
    for row in passed_on(table, rows):
        text = plain(row.values.get(columns["text"]))
        _, spans = texts.setdefault(text, (row.place.line, []))
        if filled(row.values.get(columns["start"])):
            spans.append({role: _cell(row.values.get(name)) for role, name in columns.items() if role != "text"})
    for text, (line, spans) in texts.items():
        rows.accept(line, {"text": text, "entities": spans})
    note = msg("the spans of the same '{column}' are one row", column=columns["text"])
    made = rows.table(("text", "entities"), table.format, table.encoding, [*table.notes, note])
    return replace(made, reshaped=True)


def _cell(cell: object) -> object:
    number = _number(cell)
    return cell if number is None else number
