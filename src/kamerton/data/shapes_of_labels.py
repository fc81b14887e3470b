"""Labels within objects: scores by name, objects with a name, votes of several people."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from kamerton.core.errors import Unusable
from kamerton.core.messages import Joined, Message, msg
from kamerton.data.cells import LOOKED_AT, truth
from kamerton.data.shape import Shape, Values, rest
from kamerton.data.spelling import same
from kamerton.data.table import Table
from kamerton.text.cells import filled, plain

NAMES = ("label", "name", "class", "category", "tag", "choice", "value", "title", "class-name", "text", "метка")
"""Keys that name a label within an object, the surest first."""
OFFSETS = ("start", "end", "offset", "start_offset", "startOffset", "beginOffset", "points", "labels")
"""Keys of annotations that mark a part of a text: they are no labels of the whole."""
PEOPLE = ("annotator", "annotator_id", "user", "user_id", "worker", "worker_id", "created_by", "author", "разметчик")

LABELLED = (
    *("label", "labels", "cats", "category", "categories", "class", "classes", "sentiment", "emotion", "topic"),
    *("annotation", "annotations", "target", "targets", "tag", "tags", "intent"),
    *("метка", "метки", "класс", "категория", "разметка", "тема", "темы"),
)
"""Columns that hold labels, by their names."""
LONGEST = 60
HALF = 0.5
"""The probability from which on a label counts as true; spaCy's default."""
Reader = Callable[[object], object]
"""Reads a cell as a label, a list of labels, or nothing; raises `Unusable` if it cannot."""


def labelled(table: Table) -> Shape | None:
    """Return how the one column whose objects are labels is read; None if there is none."""
    some = [row.values for row in table.rows[:LOOKED_AT]]
    shapes = [shape for name in table.columns if (shape := _shape(table, name, some))]
    return shapes[0] if len(shapes) == 1 else None


def _shape(table: Table, column: str, some: Sequence[Values]) -> Shape | None:
    """Return how the cells of a column are read as labels; None if they are not objects with labels."""
    cells = [cell for values in some if filled(cell := values.get(column)) and cell != []]
    if not cells or not all(isinstance(cell, Mapping | list) for cell in cells):
        return None
    known = same(column) in {same(name) for name in LABELLED}
    sharp = all(truth(one) is not None for cell in cells if isinstance(cell, Mapping) for one in cell.values())
    if all(map(_is_scored, cells)) and (known or sharp):
        if all(len(_true(cell)) == 1 for cell in cells):
            note = msg("of the names in '{column}', the one with a probability of at least 0.5 is the label",
                       column=column)  # fmt: skip
            return _changed(table, column, "label", _first, note)
        note = msg("of the names in '{column}', those with a probability of at least 0.5 are labels", column=column)
        return _changed(table, column, "labels", _true, note)
    alone = all(isinstance(cell, Mapping) for cell in cells)
    items = cells if alone else [one for cell in cells if isinstance(cell, list) for one in cell]
    key = _naming(items) if known else ""
    if not key:
        return None
    note = msg("the label is '{key}' in '{column}'", key=key, column=column)
    if alone:
        return _changed(table, column, "label", _named(key), note)
    if any(isinstance(one, Mapping) and not one.keys().isdisjoint(PEOPLE) for one in items):
        note = msg("the label that most people gave in '{column}' counts", column=column)
        return _changed(table, column, "label", _listed(key, vote), note)
    if all(isinstance(cell, list) and len(cell) == 1 for cell in cells):
        return _changed(table, column, "label", _listed(key, _only), note)
    return _changed(table, column, "labels", _listed(key, list), note)


def _changed(table: Table, column: str, name: str, read: Reader, note: Message) -> Shape:
    """Return how the cells of a column become labels, under a name of their own if it is free."""
    name = column if name in table.columns else name

    def rows(values: Values) -> Iterator[Values]:
        cell = values.get(column)
        yield {**rest(values, column), name: read(cell) if filled(cell) else None}

    return Shape(frozenset({column}), lambda values: True, rows, note)


def _is_scored(cell: object) -> bool:
    """Return whether a cell gives each of several names a chance between 0 and 1, or says yes or no."""
    return (
        isinstance(cell, Mapping)
        and len(cell) > 1
        and all(isinstance(one, bool | int | float) and 0 <= one <= 1 for one in cell.values())
    )


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
    held = [one for one in objects if isinstance(one, Mapping) and not any(key in one for key in OFFSETS)]
    if not objects or len(held) < len(objects):
        return ""
    return next((key for key in NAMES if all(0 < len(_text(one.get(key))) <= LONGEST for one in held)), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) and value.strip() else ""


def _named(key: str) -> Reader:
    def read(cell: object) -> object:
        if not isinstance(cell, Mapping) or not filled(cell.get(key)):
            raise Unusable(msg("the label has no '{key}'", key=key))
        return cell[key]

    return read


def _listed(key: str, choose: Callable[[list[str]], object]) -> Reader:
    name = _named(key)

    def read(cell: object) -> object:
        if not isinstance(cell, list):
            raise Unusable(msg("the labels are not a list"))
        return choose([plain(name(one)) for one in cell])

    return read


def _only(names: Sequence[str]) -> str | None:
    if len(names) > 1:
        raise Unusable(msg("{labels} labels, where other rows have one", labels=len(names)))
    return names[0] if names else None


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
