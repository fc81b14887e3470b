"""Tables of a run column by column, for pages: nothing becomes an object of Python that is not shown.

Of 10,000 test rows with the answers of ten contenders, read row by row, a page of 50 would hold 100,000 objects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kamerton.core.errors import Fault, RunError
from kamerton.core.message_json import message_from_json
from kamerton.core.messages import Wording, msg
from kamerton.core.outcomes import Answers
from kamerton.core.readers import RESTORE
from kamerton.core.records import Example, Place, Prediction, RowDynamics
from kamerton.runs.parquet import batches, unpacking
from kamerton.runs.run import CARTOGRAPHY, LEDGER, PREDICTIONS, Run
from kamerton.runs.tables import DYNAMICS

AT_ONCE = 1 << 16
GIVEN = ("score", "loss", "tokens", "passed", "wanted")
"""What is read of a prediction beside its text; probabilities of all classes would be most of the table."""


class Columns:
    """A table of a run; without rows where the run lacks it.

    Args:
        run: the run.
        name: of the file.
        wanted: columns that it must have.

    Raises:
        RunError: it is damaged, or lacks columns.
    """

    def __init__(self, run: Run, name: str, wanted: Sequence[str]) -> None:
        self._table = pa.table({column: [] for column in wanted})
        if not run.files.exists(name):
            return
        data, place = run.files.read(name), run.path / name
        with unpacking("Parquet", place, len(data), RunError, RESTORE), pq.ParquetFile(pa.BufferReader(data)) as file:
            self._table = pa.Table.from_batches(list(batches(file, len(data), AT_ONCE)), file.schema_arrow)
        if lacking := [column for column in wanted if column not in self._table.column_names]:
            rule = msg("the table lacks {columns}", columns=", ".join(lacking))
            raise RunError(Fault(rule, str(place), msg("use the version of Kamerton that made the run")))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.num_rows)

    def values(self, name: str) -> list[Any]:
        """Return a column; None for each row where an older run lacks it."""
        return self._table.column(name).to_pylist() if name in self._table.column_names else [None] * len(self)

    def where(self, name: str, values: Sequence[object]) -> Columns:
        """Return the rows that have one of some values in a column."""
        if not len(self):
            return self
        found = object.__new__(Columns)
        mask = pc.is_in(self._table.column(name), value_set=pa.array(values, self._table.schema.field(name).type))
        found._table = self._table.filter(mask)
        return found

    def counts(self, *names: str) -> Counter[tuple[Any, ...]]:
        """Count the rows by their values in some columns."""
        if not len(self):
            return Counter()
        names = tuple(name for name in names if name in self._table.column_names)
        counted = self._table.group_by(list(names), use_threads=False).aggregate([([], "count_all")])
        rows = zip(*(counted.column(name).to_pylist() for name in names), strict=True)
        return Counter(dict(zip(rows, counted.column("count_all").to_pylist(), strict=True)))


class RunTables:
    """The tables of one run, each read once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts: dict[str, Columns] = {}
        self._answers: dict[str, Answers] = {}

    def part(self, name: str) -> Columns:
        """Return a part of the split: `train`, `validation`, `test`."""
        if name not in self._parts:
            self._parts[name] = Columns(self._run, f"data/{name}.parquet", ("id", "file", "line", "text", "gold"))
        return self._parts[name]

    def drop_parts(self) -> None:
        """Free the memory of the parts; they are read again when they are asked for."""
        self._parts.clear()

    def examples(self, part: str, ids: Sequence[int] | None = None) -> tuple[Example, ...]:
        """Return the examples of a part without the fields of their task, all or those of some ids."""
        rows = self.part(part) if ids is None else self.part(part).where("id", ids)
        columns = (rows.values(name) for name in ("id", "file", "line", "text", "gold", "group"))
        return tuple(
            Example(id, Place(file, line), text, gold, group=group or "")
            for id, file, line, text, gold, group in zip(*columns, strict=True)
        )

    @cached_property
    def _predictions(self) -> Columns:
        return Columns(self._run, PREDICTIONS, ("id", "contender", "kind", "prediction", "score", "loss", "seconds"))

    @cached_property
    def contenders(self) -> Mapping[str, str]:
        """The kind of each contender that has answers, by its name."""
        return {name: kind for name, kind in self._predictions.counts("contender", "kind")}  # noqa: C416

    def answers(self, contender: str) -> Answers | None:
        """Return the answers of a contender, without the probabilities of all classes; None if there are none."""
        if contender not in self._answers:
            rows = self._predictions.where("contender", [contender])
            if not len(rows):
                return None
            given = zip(*(rows.values(name) for name in ("id", "prediction", *GIVEN)), strict=True)
            predictions = tuple(
                Prediction(id, text, score, loss, tokens, passed, wanted=wanted)
                for id, text, score, loss, tokens, passed, wanted in given
            )
            kind, seconds, title = (rows.values(name)[0] for name in ("kind", "seconds", "title"))
            self._answers[contender] = Answers(contender, kind, predictions, seconds, _message(title, ""))
        return self._answers[contender]

    @cached_property
    def fates(self) -> Counter[tuple[str, Wording]]:
        """How many source rows had a fate for a reason."""
        ledger = Columns(self._run, LEDGER, ("fate", "reason"))
        counted = Counter[tuple[str, Wording]]()
        for (fate, reason, *message), rows in ledger.counts("fate", "reason", "message").items():
            counted[fate, _message(message[0] if message else None, reason)] += rows
        return counted

    @cached_property
    def dynamics(self) -> list[RowDynamics]:
        """The training dynamics of each row."""
        rows = Columns(self._run, CARTOGRAPHY, DYNAMICS)
        return [RowDynamics(*row) for row in zip(*map(rows.values, DYNAMICS), strict=True)]


def _message(dumped: str | None, text: str) -> Wording:
    return message_from_json(json.loads(dumped)) if dumped else text
