"""Labels within objects: scores by name, objects with a name, votes of several people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, Message, msg
from kamerton.data.cells import LOOKED_AT, truth
from kamerton.data.shape import Shape, Values
from kamerton.data.spelling import same
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

NAMES = ("label", "name", "class", "category", "tag", "choice", "value", "title", "class-name", "text", "метка")
"""Keys that name a label within an object, the surest first."""
OFFSETS = ("start", "end", "offset", "start_offset", "startOffset", "beginOffset", "points", "labels")
"""Keys of annotations that mark a part of a text: they are no labels of the whole."""
PEOPLE = ("annotator", "annotator_id", "user", "user_id", "worker", "worker_id", "created_by", "author", "разметчик")
"""Keys that say who gave a label."""
LABELLED = (
    *("label", "labels", "cats", "category", "categories", "class", "classes", "sentiment", "emotion", "topic"),
    *("annotation", "annotations", "target", "targets", "tag", "tags", "intent"),
    *("метка", "метки", "класс", "категория", "разметка", "тема", "темы"),
)
"""Columns that hold labels, by their names."""
LONGEST = 60
"""Characters of a label's name."""
NO_LIST = msg("the labels are not a list")
HALF = 0.5
"""The probability from which on a label counts as true; spaCy's default."""
Reader = Callable[[object], object]
"""Reads a cell as a label, a list of labels, or nothing; raises `Unusable` if it cannot."""


@dataclass(frozen=True)
class Change:
    """How the cells of a column become labels."""

    column: str
    name: str
    """What the column is called then."""
    read: Reader
    note: Message

    def rows(self, values: Values) -> Iterator[Values]:
        """Read the label of a row."""
        cell = values.get(self.column)
        kept = {name: value for name, value in values.items() if name != self.column}
        yield {**kept, self.name: self.read(cell) if filled(cell) else None}


def labelled(table: Table) -> Shape | None:
    """Return how the one column whose objects are labels is read; None if there is none."""
    some = [row.values for row in table.rows[:LOOKED_AT]]
    changes = [change for name in table.columns if (change := _change(table, name, some))]
    if len(changes) != 1:
        return None
    [change] = changes
    return Shape(frozenset({change.column}), lambda values: True, change.rows, change.note)


def _change(table: Table, column: str, some: Sequence[Values]) -> Change | None:
    """Return how the cells of a column are read as labels; None if they are not objects with labels."""
    cells = [cell for values in some if filled(cell := values.get(column)) and cell != []]
    if not cells or not all(isinstance(cell, Mapping | list) for cell in cells):
        return None
    known = same(column) in {same(name) for name in LABELLED}
    if all(map(_is_scored, cells)) and (known or all(map(_is_sharp, cells))):
        one = all(len(_true(cell)) == 1 for cell in cells)
        note = (
            msg("of the names in '{column}', the one with a probability of at least 0.5 is the label", column=column)
            if one
            else msg("of the names in '{column}', those with a probability of at least 0.5 are labels", column=column)
        )
        return Change(column, _called(table, column, one), _first if one else _true, note)
    if not known:
        return None
    if all(isinstance(cell, Mapping) for cell in cells):
        key = _naming(cells)
        return Change(column, _called(table, column, True), _named(key), _note(column, key)) if key else None
    items = [one for cell in cells if isinstance(cell, list) for one in cell]
    key = _naming(items)
    if not key:
        return None
    if any(who in one for one in items for who in PEOPLE):
        note = msg("the label that most people gave in '{column}' counts", column=column)
        return Change(column, _called(table, column, True), _voted(key), note)
    one = all(isinstance(cell, list) and len(cell) == 1 for cell in cells)
    return Change(column, _called(table, column, one), _listed(key, alone=one), _note(column, key))


def _note(column: str, key: str) -> Message:
    return msg("the label is '{key}' in '{column}'", key=key, column=column)


def _called(table: Table, column: str, one: bool) -> str:
    name = "label" if one else "labels"
    return column if name in table.columns else name


# ── kinds of cells ────────────────────────────────────────────────────────────────────────────


def _is_scored(cell: object) -> bool:
    """Return whether a cell gives each of several names a chance between 0 and 1, or says yes or no."""
    return (
        isinstance(cell, Mapping)
        and len(cell) > 1
        and all(isinstance(one, bool | int | float) and 0 <= one <= 1 for one in cell.values())
    )


def _is_sharp(cell: object) -> bool:
    return isinstance(cell, Mapping) and all(truth(one) is not None for one in cell.values())


def _true(cell: object) -> list[str]:
    if not _is_scored(cell) or not isinstance(cell, Mapping):
        raise Unusable(msg("the labels are not names with a probability each"))
    return [str(name) for name, chance in cell.items() if chance >= HALF]


def _first(cell: object) -> str:
    names = _true(cell)
    if len(names) != 1:
        raise Unusable(msg("{labels} {labels:label is|labels are} true, where other rows have one", labels=len(names)))
    return names[0]


def _naming(objects: Sequence[object]) -> str:
    """Return the key of a short text in each object; an empty string if there is none, or they mark spans."""
    if not objects or not all(isinstance(one, Mapping) and not any(key in one for key in OFFSETS) for one in objects):
        return ""
    held = [one for one in objects if isinstance(one, Mapping)]
    return next((key for key in NAMES if all(_is_name(one.get(key)) for one in held)), "")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= LONGEST


def _named(key: str) -> Reader:
    def read(cell: object) -> object:
        if not isinstance(cell, Mapping) or not filled(cell.get(key)):
            raise Unusable(msg("the label has no '{key}'", key=key))
        return cell[key]

    return read


def _listed(key: str, *, alone: bool) -> Reader:
    name = _named(key)

    def read(cell: object) -> object:
        if not isinstance(cell, list):
            raise Unusable(NO_LIST)
        names = [plain(name(one)) for one in cell]
        if alone and len(names) > 1:
            raise Unusable(msg("{labels} labels, where other rows have one", labels=len(names)))
        return (names[0] if names else None) if alone else names

    return read


def _voted(key: str) -> Reader:
    name = _named(key)

    def read(cell: object) -> object:
        if not isinstance(cell, list):
            raise Unusable(NO_LIST)
        return vote([plain(name(one)) for one in cell])

    return read


def vote(labels: Sequence[str]) -> str | None:
    """Return the label that most people gave.

    >>> vote(["good", "bad", "good"])
    'good'

    Raises:
        Unusable: several were given as often.
    """
    counts = Counter(labels).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        votes = Joined([msg("{label} {count}", label=label, count=count) for label, count in counts], ", ")
        raise Unusable(msg("the people who labeled it disagree: {votes}", votes=votes))
    return counts[0][0] if counts else None
