"""Cells that hold several labels: lists, JSON or Python's way of writing them, or labels with separators between."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from kamerton.forms.values import filled, plain

SURE = re.compile(r"\s*[;|]\s*")
"""What hardly ever stands within a label."""
ITEM = re.compile(
    r"""\s*(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^,'"\[\]{}]+))\s*(?:,|$)"""
)
ESCAPED = re.compile(r"\\(.)")
COMMA = re.compile(r"\s*[,،、]\s*")
"""What may: `Arts, Culture`."""


def labels_in(cell: object, separator: str = "") -> list[str]:
    """Read a cell's labels, each once, sorted.

    >>> labels_in("drama; comedy"), labels_in("['drama', 'war']"), labels_in([]), labels_in("drama, war")
    (['comedy', 'drama'], ['drama', 'war'], [], ['drama', 'war'])
    >>> labels_in("arts, culture", separator=";")
    ['arts, culture']

    Args:
        cell: a list or a text.
        separator: what parts labels in a text; if empty, `;` and `|`, and a comma where neither of them stands.

    Raises:
        ValueError: a list holds something else than labels, or a text has commas beside another separator, so that
            they may belong to labels.
    """
    listed = as_list(cell)
    if listed is not None:
        return sorted({_label(one) for one in listed})
    text = plain(cell)
    if separator:
        parts = text.split(separator)
    elif SURE.search(text):
        if COMMA.search(text):
            raise ValueError(
                f'{text!r} has commas beside another separator: say what parts labels, `--set task.separator=";"`'
            )
        parts = SURE.split(text)
    else:
        parts = COMMA.split(text)
    return sorted({part.strip() for part in parts if part.strip()})


def as_list(cell: object) -> Sequence[object] | None:
    """Give the list that a cell is, or that its text writes down; None if it is none.

    >>> as_list('["a", "b"]'), as_list("[a, b]"), as_list("a; b")
    (['a', 'b'], ['a', 'b'], None)
    """
    if isinstance(cell, list | tuple):
        return cell
    if not isinstance(cell, str) or not (cell.strip().startswith("[") and cell.strip().endswith("]")):
        return None
    try:
        listed = json.loads(cell)
    except (ValueError, RecursionError):
        return _items(cell.strip()[1:-1])
    return listed if isinstance(listed, list) else None


def _items(text: str) -> list[str] | None:
    """Read what stands between the brackets as Python writes it, or bare; None if it is something else."""
    items, at = [], 0
    while text[at:].strip():
        item = ITEM.match(text, at)
        if not item:
            return None
        items.append(ESCAPED.sub(r"\1", item["single"] or item["double"] or item["bare"] or "").strip())
        at = item.end()
    return items


def holds_several(cells: Sequence[object]) -> bool:
    """Say whether a column surely holds several labels a row: lists of two, or texts whose parts come elsewhere too.

    Commas are no proof.
    """
    there = [cell for cell in cells if filled(cell)]
    if any(len(as_list(cell) or ()) > 1 for cell in there):
        return True
    return recombined({SURE.sub(";", cell.strip()) for cell in there if isinstance(cell, str)}, ";")


def recombined(cells: set[str], separator: str) -> bool:
    """Say whether the parts of several cells stand in more than one of them.

    >>> recombined({"a;b", "b", "c"}, ";"), recombined({"yes; sure", "no"}, ";")
    (True, False)
    """
    parts = [[part.strip() for part in cell.split(separator) if part.strip()] for cell in cells]
    several = {part for row in parts if len(row) > 1 for part in row}
    everywhere = Counter(part for row in parts for part in set(row))
    again = sum(everywhere[part] > 1 for part in several)
    return bool(several) and 2 * again >= len(several)


def _label(value: object) -> str:
    if isinstance(value, list | tuple | dict) or not filled(value):
        raise ValueError(f"a list of labels holds {plain(value) or 'an empty one'}")
    return plain(value).strip()
