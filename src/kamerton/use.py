"""Use a finished run: answer new rows, or score it on other data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from kamerton.data.read import read_table
from kamerton.engines import saved_engine
from kamerton.errors import DataError, Fault, RunError
from kamerton.forms.values import filled
from kamerton.prepare import Setup, open_setup
from kamerton.records import Example, Place, Prediction
from kamerton.run import Run

AT_ONCE = 512
"""Rows of a file that are answered together: enough to batch well, few enough to stream."""


class Predictor:
    """A run's tuned model, loaded once and asked many times.

    Raises:
        RunError: the run has no tuned model yet.
    """

    def __init__(self, run: Run) -> None:
        if not run.model.exists():
            remedy = f"`kamerton resume {run.path}` goes on with it"
            raise RunError(Fault(f"'{run.path}' has no tuned model yet", remedy=remedy))
        self.setup: Setup = open_setup(run)
        self.engine = saved_engine(run, self.setup)

    def predict(self, rows: Sequence[str | Mapping[str, object]]) -> list[Prediction]:
        """Answer rows: texts, or mappings by role (`{"instruction": ..., "input": ...}`)."""
        examples = [self._example(i, Place("input", i + 1), row) for i, row in enumerate(rows)]
        return self.setup.form.predict(self.engine, examples)

    def predict_file(self, path: Path) -> Iterator[Prediction]:
        """Answer a data file's rows in order, some hundred at a time.

        Raises:
            DataError: the file cannot be read, or lacks a column that the task needs.
        """
        table = read_table(path)
        columns = self._columns(table.columns, path)
        for start in range(0, len(table.rows), AT_ONCE):
            rows = table.rows[start : start + AT_ONCE]
            examples = [
                self._example(row.id, row.place, {role: row.values.get(column) for role, column in columns.items()})
                for row in rows
            ]
            yield from self.setup.form.predict(self.engine, examples)

    def predict_lines(self, lines: Iterable[str]) -> Iterator[Prediction]:
        """Answer texts as they come, one a line; empty lines are passed over."""
        texts = (line.rstrip("\n") for line in lines)
        while batch := list(islice((text for text in texts if text.strip()), AT_ONCE)):
            yield from self.predict(batch)

    def _columns(self, found: Sequence[str], path: Path) -> dict[str, str]:
        """Map roles to a file's columns as in training; the answer's column need not be there."""
        columns = {role: column for role, column in (self.setup.recipe.data.columns or {}).items() if column in found}
        *given, _answer = [role.name for role in self.setup.task.roles if role.required]
        missing = [role for role in given if role not in columns]
        if missing:
            wanted = self.setup.recipe.data.columns or {}
            faults = [
                Fault(f"there is no column '{wanted[role]}' ({role})", str(path), f"it has: {', '.join(found)}")
                for role in missing
            ]
            raise DataError(faults)
        return columns

    def _example(self, id: int, place: Place, row: str | Mapping[str, object]) -> Example:
        first = self.setup.task.roles[0].name
        values = {first: row} if isinstance(row, str) else dict(row)
        if not filled(values.get(first)):
            raise DataError(Fault(f"'{first}' is empty", str(place), "give a text"))
        return self.setup.task.example(id, place, {role.name: values.get(role.name) for role in self.setup.task.roles})
