"""Examples held by columns in a third of the memory of as many objects; each is made when it is accessed."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from kamerton.core.records import Example, Place

KEY = 16
"""Bytes of a key."""
SHORT, SHORT_ONES = 60, 10_000
"""Characters of a text, such as a label, that is held once however often it occurs; and how many such texts."""
ABSENT = object()


class Examples(Sequence[Example]):
    """A growing sequence of examples."""

    def __init__(self) -> None:
        self._ids, self._lines, self._files = array("q"), array("q"), array("L")
        self._names: dict[str, int] = {}
        self._texts: list[str] = []
        self._golds: list[str] = []
        self._groups: list[str] = []
        self._fields: dict[str, list[object]] = {}
        self._keys = bytearray()
        self._known: dict[str, str] = {}

    def append(self, example: Example) -> None:
        """Add an example."""
        for name in example.fields.keys() - self._fields.keys():
            self._fields[name] = [ABSENT] * len(self)
        for name, column in self._fields.items():
            column.append(self._once(example.fields.get(name, ABSENT)))
        self._files.append(self._names.setdefault(example.place.file, len(self._names)))
        self._lines.append(example.place.line)
        self._texts.append(example.text)
        self._golds.append(str(self._once(example.gold)))
        self._groups.append(str(self._once(example.group)))
        self._keys += bytes.fromhex(example.key)
        self._ids.append(example.id)

    @property
    def golds(self) -> Sequence[str]:
        """The right answer of each example, without making the examples."""
        return self._golds

    @property
    def texts(self) -> Sequence[str]:
        """The text of each example, without making the examples."""
        return self._texts

    def _once(self, value: object) -> object:
        """Return the same object for equal short texts."""
        if not isinstance(value, str) or len(value) > SHORT:
            return value
        if len(self._known) < SHORT_ONES:
            return self._known.setdefault(value, value)
        return self._known.get(value, value)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, at: int | slice) -> Example | tuple[Example, ...]:
        """Return an example, or a tuple of them."""
        if isinstance(at, slice):
            return tuple(self._made(range(*at.indices(len(self)))))
        place = range(len(self))[at]
        return next(self._made(range(place, place + 1)))

    def __iter__(self) -> Iterator[Example]:
        """Yield all examples in order."""
        return self._made(range(len(self)))

    def _made(self, places: range) -> Iterator[Example]:
        names, columns = list(self._names), list(self._fields.items())
        for at in places:
            fields = {name: column[at] for name, column in columns if column[at] is not ABSENT}
            place = Place(names[self._files[at]], self._lines[at])
            example = Example(self._ids[at], place, self._texts[at], self._golds[at], fields, self._groups[at])
            yield example.remember(self._keys[KEY * at : KEY * (at + 1)].hex())
