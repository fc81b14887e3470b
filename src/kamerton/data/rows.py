"""Rows as they are read, in a temporary file once they are many, and examples in a third of the memory of objects."""

from __future__ import annotations

import json
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from tempfile import SpooledTemporaryFile
from typing import Any, overload

from kamerton.core.records import Example, Place, Row

IN_MEMORY = 32 << 20
"""Bytes of rows before they go to a file."""
TOGETHER = 256
"""Rows that are written and read at once."""
ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
KEY = 16  # bytes
SHORT, SHORT_ONES = 60, 10_000
"""Characters of a text, such as a label, that is held once however often it occurs; and how many such texts."""
ABSENT = object()


class RowLog:
    """The rows of one file: written once, in order, then only read. It takes 24 bytes of memory a row."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.ids, self.lines = array("q"), array("q")
        self._ends = array("q", [0])
        self._waiting: list[Mapping[str, object]] = []
        self._read: tuple[Mapping[str, Any], ...] = ()
        self._read_number = -1
        self._spool = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - it lives as long as the log
        weakref.finalize(self, self._spool.close)

    def append(self, id: int, line: int, values: Mapping[str, object]) -> None:
        """Add a row, its values being what JSON knows."""
        self.ids.append(id)
        self.lines.append(line)
        self._waiting.append(values)
        if len(self._waiting) == TOGETHER:
            self._write()

    def row(self, at: int, shift: int) -> Row:
        """Return the row at a position, its id shifted."""
        number, within = divmod(at, TOGETHER)
        return Row(self.ids[at] + shift, Place(self.file, self.lines[at]), self._chunk(number)[within])

    def _write(self) -> None:
        self._spool.seek(self._ends[-1])
        self._spool.write(ENCODER.encode(self._waiting).encode("utf-8", "surrogatepass"))
        self._ends.append(self._spool.tell())
        self._waiting = []

    def _chunk(self, number: int) -> Sequence[Mapping[str, object]]:
        if number == len(self._ends) - 1:
            return self._waiting
        if number != self._read_number:
            self._spool.seek(self._ends[number])
            written = self._spool.read(self._ends[number + 1] - self._ends[number])
            self._read, self._read_number = tuple(json.loads(written.decode("utf-8", "surrogatepass"))), number
        return self._read


class Rows(Sequence[Row]):
    """The rows of one or several logs, one after the other, each numbered on from the last."""

    def __init__(
        self, logs: Sequence[RowLog], shifts: Sequence[int], names: Sequence[Mapping[str, str]] | None = None
    ) -> None:
        self.logs, self.shifts = tuple(logs), tuple(shifts)
        self.names = tuple(names or [{} for _ in logs])
        self._starts = [0, *accumulate(len(log.ids) for log in logs)]

    @classmethod
    def joined(cls, parts: Sequence[Rows], starts: Sequence[int]) -> Rows:
        """Concatenate rows; the ids of each part are counted from its start."""
        logs = [log for part in parts for log in part.logs]
        shifts = [start + shift for part, start in zip(parts, starts, strict=False) for shift in part.shifts]
        return cls(logs, shifts, [names for part in parts for names in part.names])

    def renamed(self, names: Mapping[str, str]) -> Rows:
        """Return the same rows with other names of their columns."""
        return Rows(self.logs, self.shifts, [{**old, **names} for old in self.names])

    @property
    def files(self) -> list[str]:
        """The files that the rows stand in."""
        return list(dict.fromkeys(log.file for log in self.logs))

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, at: int | slice) -> Row | tuple[Row, ...]:
        """Read a row, or some."""
        if isinstance(at, slice):
            return tuple(self[number] for number in range(*at.indices(len(self))))
        place = range(len(self))[at]
        which = bisect_right(self._starts, place) - 1
        return _called(self.logs[which].row(place - self._starts[which], self.shifts[which]), self.names[which])

    def __iter__(self) -> Iterator[Row]:
        """Read all rows in order."""
        for log, shift, names in zip(self.logs, self.shifts, self.names, strict=True):
            rows = (log.row(at, shift) for at in range(len(log.ids)))
            yield from (_called(row, names) for row in rows) if names else rows


def _called(row: Row, names: Mapping[str, str]) -> Row:
    return replace(row, values={names.get(name, name): cell for name, cell in row.values.items()}) if names else row


class Examples(Sequence[Example]):
    """A growing sequence of examples, held by columns; each is made when it is accessed."""

    def __init__(self) -> None:
        self._ids, self._lines, self._files = array("q"), array("q"), array("L")
        self._names: dict[str, int] = {}
        self.texts: list[str] = []
        """The text of each example, and in `golds` the right answer, without making the examples."""
        self.golds: list[str] = []
        self._groups: list[str] = []
        self._fields: dict[str, list[object]] = {}
        self._keys = bytearray()
        self._known: dict[str, str] = {}

    def append(self, example: Example) -> None:
        """Add an example."""
        self._fields |= {name: [ABSENT] * len(self) for name in example.fields if name not in self._fields}
        for name, column in self._fields.items():
            column.append(self._once(example.fields.get(name, ABSENT)))
        self._files.append(self._names.setdefault(example.place.file, len(self._names)))
        self._lines.append(example.place.line)
        self.texts.append(example.text)
        self.golds.append(str(self._once(example.gold)))
        self._groups.append(str(self._once(example.group)))
        self._keys += bytes.fromhex(example.key)
        self._ids.append(example.id)

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
            example = Example(self._ids[at], place, self.texts[at], self.golds[at], fields, self._groups[at])
            yield example.remember(self._keys[KEY * at : KEY * (at + 1)].hex())
