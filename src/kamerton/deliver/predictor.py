"""Answer new rows with a finished run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kamerton.core.errors import DataError, Fault, RunError, reason_of
from kamerton.core.messages import Wording, msg
from kamerton.core.records import Example, LedgerEntry, Place, Prediction
from kamerton.data.cells import stand_in, unused, value_at
from kamerton.data.encoding import flaw
from kamerton.data.marks import find_marks, refusal
from kamerton.data.mixed import unified
from kamerton.data.read import read_table
from kamerton.data.table import Options, spelled_as
from kamerton.evaluate.temperature import at_temperature
from kamerton.forms.conversation import answered_next
from kamerton.forms.templates import RefusedError
from kamerton.models.saved import ONE_BY_ONE
from kamerton.runs.run import Run
from kamerton.session.engines import adapter_engine, saved_engine, untuned_engine
from kamerton.session.setup import Setup, bare, differing_parts, open_setup
from kamerton.text.cells import filled

AT_ONCE = 512
"""Rows of a file per call: enough for good batches, few enough to stream."""
SHOWN = 5
"""Most faults shown of a file without usable rows."""


@dataclass(frozen=True)
class Served:
    """One row of input with its answer."""

    place: Place
    prediction: Prediction
    """Its text is empty where there is no answer."""
    unusable: Wording = ""
    """Why there is no answer."""


@dataclass(frozen=True)
class Taken:
    """A data file's rows as the run's task parses them, and those that it cannot use."""

    examples: tuple[Example, ...]
    unusable: tuple[LedgerEntry, ...]
    refused: Mapping[int, Wording]
    """Ids of examples whose answers people refused, and by which mark: they can be answered, but not scored."""


class Predictor:
    """A run's tuned model, loaded once.

    Args:
        run: a finished one.
        beside: another run's predictor over the same base: its model loads this run's adapter, too.

    Raises:
        RunError: the run has no tuned model yet, or the two runs do not share a base.
    """

    def __init__(self, run: Run, beside: Predictor | None = None) -> None:
        run.require_model()
        self.run = run
        self.setup: Setup = open_setup(run)
        self.temperature = run.temperature
        if beside is None:
            self.engine = saved_engine(run, self.setup)
        else:
            check_one_base(beside.run, beside.setup, run, self.setup)
            self.engine = adapter_engine(run, self.setup, beside.engine)

    def untuned(self) -> Predictor:
        """Load the base model as it was before training."""
        other = copy(self)
        other.setup, other.engine = bare(self.setup), untuned_engine(self.setup)
        return other

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes or labels in the order of the probabilities, if there are some."""
        return self.setup.form.answer_names

    def predict(self, rows: Sequence[str | Mapping[str, object]], first: int = 0) -> list[Prediction]:
        """Answer rows: texts, or mappings by role (`{"instruction": ..., "input": ...}`); ids count from `first`."""
        return self.answer([self.example(i, Place("input", i + 1), row) for i, row in enumerate(rows, first)])

    def predict_file(self, path: Path) -> Iterator[Served]:
        """Yield each row of a data file in order, with its answer or the reason why there is none.

        Raises:
            DataError: the file cannot be read, lacks a column of the task, or has no usable row.
        """
        taken = self.take(path)
        rows: list[Example | LedgerEntry] = [*taken.examples, *taken.unusable]
        rows.sort(key=lambda row: row.id)
        for start in range(0, len(rows), AT_ONCE):
            yield from self._served(rows[start : start + AT_ONCE])

    def take(self, path: Path) -> Taken:
        """Parse a data file's rows; answers may be missing.

        Raises:
            DataError: the file cannot be read, lacks a column of the task, or has no usable row.
        """
        data = self.setup.recipe.data
        options = Options(data.header, data.sheet, blank_rows=True)
        table = spelled_as(read_table(path, options), (data.columns or {}).values())
        table = unified(table, data.task, data.columns or {})
        columns = self._columns(table.columns, path)
        marks = find_marks(table, unused(table.columns, columns))
        examples, unusable, refused = [], list(table.rejected), dict[int, Wording]()
        for row in table.rows:
            if reason := refusal(row.values, marks):
                refused[row.id] = reason
            values = {role: value_at(row.values, column) for role, column in columns.items()}
            try:
                examples.append(self.example(row.id, row.place, values))
            except DataError as error:
                unusable.append(LedgerEntry(row.id, row.place, "dropped", error.faults[0].rule))
        if not examples:
            faults = [Fault(entry.reason, str(entry.place), msg("correct or remove the row")) for entry in unusable]
            raise DataError(faults[:SHOWN])
        return Taken(tuple(examples), tuple(unusable), refused)

    def predict_lines(self, lines: Iterable[str]) -> Iterator[Served]:
        """Answer texts as they come, one per line; skip empty lines, and do not answer damaged ones."""
        texts = enumerate(text for line in lines if (text := line.rstrip("\n")).strip())
        while batch := list(islice(texts, AT_ONCE)):
            yield from self._served([self._line(number, text) for number, text in batch])

    def _line(self, number: int, text: str) -> Example | LedgerEntry:
        """Build an example from a line, unless it holds control characters; tokenizers accept NUL."""
        place = Place("input", number + 1)
        fault = flaw(text.replace("\0", ""))
        return LedgerEntry(number, place, "dropped", fault) if fault else self.example(number, place, text)

    def _served(self, rows: Sequence[Example | LedgerEntry]) -> Iterator[Served]:
        try:
            answers = iter(self.answer([row for row in rows if isinstance(row, Example)]))
        except RefusedError as error:
            if len(rows) > 1:
                for row in rows:
                    yield from self._served([row])
            else:
                yield Served(rows[0].place, Prediction(rows[0].id, ""), error.faults[0].rule)
            return
        for row in rows:
            if isinstance(row, Example):
                yield Served(row.place, next(answers))
            else:
                yield Served(row.place, Prediction(row.id, ""), row.reason)

    def answer(self, examples: Sequence[Example]) -> list[Prediction]:
        """Answer examples, with probabilities at the temperature fitted on validation rows."""
        answers = self.setup.form.predict(self.engine, answered_next(examples))
        return [at_temperature(prediction, self.temperature) for prediction in answers]

    def _columns(self, found: Sequence[str], path: Path) -> dict[str, str]:
        """Map roles to a file's columns as in training; columns that only training uses may be missing."""
        wanted, roles = self.setup.recipe.data.columns or {}, self.setup.task.roles
        columns = {role: column for role, column in wanted.items() if stand_in(column, found)}
        if roles[0].name not in wanted and roles[0].name in found:
            columns[roles[0].name] = roles[0].name  # in training it was found elsewhere: a prompt within the answers
        *given, _answer = [role for role in roles if role.required]
        missing = [role.name for role in given if role.name not in columns and not role.to_learn]
        if missing:
            rules = [msg("there is no column '{column}' ({role})", column=wanted[role], role=role) for role in missing]
            has = msg("it has: {columns}", columns=", ".join(found))
            raise DataError([Fault(rule, str(path), has) for rule in rules])
        return columns

    def example(self, id: int, place: Place, row: str | Mapping[str, object]) -> Example:
        """Return a row, a text or a mapping by role, as an example. Raises `DataError` if it cannot be used."""
        roles = self.setup.task.roles
        values = {roles[0].name: row} if isinstance(row, str) else dict(row)
        if roles[0].required and not filled(values.get(roles[0].name)):
            raise DataError(Fault(msg("'{role}' is empty", role=roles[0].name), str(place), msg("give a text")))
        try:
            return self.setup.task.example(id, place, {role.name: values.get(role.name) for role in roles})
        except ValueError as error:
            raise DataError(Fault(reason_of(error), str(place), msg("correct the row"))) from None


def check_one_base(first: Run, setup: Setup, second: Run, other: Setup) -> None:
    """Check that two runs' adapters have the same base and the same head.

    Raises:
        RunError: they do not, with what differs.
    """
    name, mine, theirs = str(second.path), first.state.base, second.state.base
    if mine.fingerprint != theirs.fingerprint:
        parts = differing_parts(mine.parts, theirs.parts)
        rule = msg("'{run}' was tuned over another base: {parts}", run=name, parts=parts)
    elif setup.recipe.model.new_tokens != other.recipe.model.new_tokens:
        rule = msg("'{run}' has other new tokens, so its embeddings have another size", run=name)
    elif (setup.form.model_class, setup.form.config) != (other.form.model_class, other.form.config):
        rule = msg("'{run}' has another head: other labels, or another task", run=name)
    else:
        return
    raise RunError(Fault(rule, str(first.path), ONE_BY_ONE))
