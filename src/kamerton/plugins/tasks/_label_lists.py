"""Cells that hold several labels: lists, also as JSON or printed by Python, or labels between separators."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from kamerton.core.errors import Unusable
from kamerton.core.messages import msg
from kamerton.plugins.tasks._shared import tried
from kamerton.text.cells import few, filled, plain
from kamerton.text.printed import opened

SURE = re.compile(r"[;|]")
"""Hardly ever part of a label."""
ITEM = re.compile(
    r"""(?:\s*+'(?P<single>(?:[^'\\]|\\.)*+)'|\s*+"(?P<double>(?:[^"\\]|\\.)*+)"|(?P<bare>[^,'"\[\]{}]++))\s*+(?:,|$)"""
)
ESCAPED = re.compile(r"\\(.)")
BITS = re.compile(r"[\s,;|]+")
YES, NO = ("1", "true", "1.0"), ("0", "false", "0.0")
COMMA = re.compile(r"[,،、]")
"""May be part of one: `Arts, Culture`."""


def labels_in(cell: object, separator: str = "") -> list[str]:
    """Parse a cell's labels, each once, sorted.

    >>> labels_in("drama; comedy"), labels_in("['drama', 'war']"), labels_in([]), labels_in("drama, war")
    (['comedy', 'drama'], ['drama', 'war'], [], ['drama', 'war'])
    >>> labels_in("arts, culture", separator=";")
    ['arts, culture']

    Args:
        cell: a list or a text.
        separator: between labels in a text; if empty, `;` and `|`, and a comma where neither of them stands.

    Raises:
        Unusable: a list holds something else than labels, or a text has commas beside another separator, so that they
            may belong to labels.
    """
    listed = as_list(cell)
    if listed is not None:
        return sorted({_label(one) for one in listed})
    text = plain(cell)
    if separator:
        parts = text.split(separator)
    elif SURE.search(text):
        if COMMA.search(text):
            raise Unusable(
                msg(
                    "'{text}' has commas beside another separator; name the one between labels with "
                    '`--set task.separator=";"`',
                    text=text,
                )
            )
        parts = SURE.split(text)
    else:
        parts = COMMA.split(text)
    return sorted({part.strip() for part in parts if part.strip()})


def as_list(cell: object) -> Sequence[object] | None:
    """Return a cell's list, or the one that its text prints; None if there is none.

    >>> as_list('["a", "b"]'), as_list("[a, b]"), as_list("{'choices': ['a']}"), as_list("a; b")
    (['a', 'b'], ['a', 'b'], ['a'], None)

    Raises `Unusable` if it begins like a list and cannot be parsed.
    """
    cell = opened(cell)
    if isinstance(cell, Mapping) and isinstance(chosen := cell.get("choices"), list | str):  # of Label Studio
        return chosen if isinstance(chosen, list) else [chosen]
    if isinstance(cell, list | tuple):
        return cell
    bare = cell.strip() if isinstance(cell, str) else ""
    return _items(bare[1:-1]) if (bare[:1], bare[-1:]) in (("[", "]"), ("{", "}")) else None


def positions(cell: object) -> list[bool] | None:
    """Parse a list of 0 and 1, one for each label; None if it is another one.

    >>> positions([1, 0, 0]), positions("[1. 0.]"), positions("1 0 1"), positions("101"), positions("1,0")
    ([True, False, False], [True, False], [True, False, True], [True, False, True], None)
    """
    listed = tried(as_list, cell)
    if listed is None and isinstance(cell, str):
        parts = BITS.split(cell.strip()) if cell[:1] in "01" else []
        parts = list(parts[0]) if len(parts) == 1 else parts
        listed = parts if len(parts) > 2 else None  # of two, the comma may be that of a decimal number
    if listed is None or len(listed) < 2:
        return None
    words = [plain(one).strip().casefold() for one in listed if isinstance(one, bool | int | float | str)]
    known = len(words) == len(listed) and all(word in YES or word in NO for word in words)
    return [word in YES for word in words] if known else None


def by_position(cells: Sequence[object]) -> dict[str, object]:
    """Return the number of labels in a column's lists of 0 and 1, as a setting; nothing if they are other lists.

    >>> by_position([[1, 0, 0], [0, 0, 1], None]), by_position([["a", "b"]]), by_position([[0], [0, 1]])
    ({'positions': 3}, {}, {})
    """
    given = [cell for cell in cells if filled(cell)]
    lengths = Counter(len(found) if (found := positions(cell)) else 0 for cell in given)
    length, rows = max(lengths.items(), key=lambda pair: pair[1], default=(0, 0))
    return {"positions": length} if length and (rows == len(given) or few(len(given) - rows, len(given))) else {}


def _items(text: str) -> list[str] | None:
    """Parse what stands between brackets, quoted or bare; None if it is something else."""
    items, at, end = [], 0, len(text.rstrip())
    while at < end:
        item = ITEM.match(text, at)
        if not item:
            return None
        items.append(ESCAPED.sub(r"\1", item["single"] or item["double"] or item["bare"] or "").strip())
        at = item.end()
    return items


def holds_several(cells: Sequence[object]) -> bool:
    """Return whether a column surely holds several labels a row: lists of two, or texts whose parts come elsewhere too.

    Commas are no proof.
    """
    given = [cell for cell in cells if filled(cell)]
    if any((found := tried(as_list, cell)) and len(found) > 1 for cell in given):
        return True
    return recombined({";".join(map(str.strip, SURE.split(cell))) for cell in given if isinstance(cell, str)}, ";")


def recombined(cells: set[str], separator: str) -> bool:
    """Return whether the parts of several cells occur in more than one of them.

    >>> recombined({"a;b", "b", "c"}, ";"), recombined({"yes; sure", "no"}, ";")
    (True, False)
    """
    parts = [[part.strip() for part in cell.split(separator) if part.strip()] for cell in cells]
    several = {part for row in parts if len(row) > 1 for part in row}
    everywhere = Counter(part for row in parts for part in set(row))
    again = sum(everywhere[part] > 1 for part in several)
    return bool(several) and 2 * again >= len(several)


def _label(value: object) -> str:
    if isinstance(value, float) and not value.is_integer():
        rule = "a list of labels holds a share, {share}: write 1 where a label is right and 0 elsewhere"
        raise Unusable(msg(rule, share=f"{value:g}"))
    if not filled(value):
        raise Unusable(msg("a list of labels holds an empty one"))
    if isinstance(value, list | tuple | dict):
        raise Unusable(msg("a list of labels holds {value}", value=plain(value)))
    return plain(value).strip()
