"""Read CSV and TSV: cells stay the text they are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kamerton.data.encoding import Source, flaw
from kamerton.data.read_conll import looks_like_conll, read_conll
from kamerton.data.table import Collector, Table, unique_columns
from kamerton.errors import DataError, Fault

Quoting = Literal[0, 3]
"""`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""
DELIMITERS = ",;\t|"
LARGEST_CELL = 2**31 - 1
"""Characters in a cell; Python's own limit of 131,072 is less than a long document has."""
UNCLOSED = "a quote is opened in this row and never closed"
RAW_QUOTES = "quotes are read as characters"
"""What is noted of a file without quoting."""
LONGEST_NAME = 100
"""Characters in a column's name; a longer one is text, and the file has no header."""


@dataclass(frozen=True)
class Record:
    """One row as cells: the lines it stands on, and what is wrong with it, if anything."""

    first: int
    last: int
    cells: list[str]
    fault: str

    @property
    def blank(self) -> bool:
        """Whether nothing stands on its line."""
        return not self.fault and len(self.cells) <= 1 and not any(cell.strip() for cell in self.cells)


def read_csv(source: Source) -> Table:
    """Read rows whose cells are parted by a comma, a semicolon, a tab or a bar, whichever the header has most of.

    Raises:
        DataError: no header, columns of the same name, a quote that is never closed, no rows, mostly bad rows.

    """
    return _read(source, delimiter_of(source), csv.QUOTE_MINIMAL, "csv")


def delimiter_of(source: Source) -> str:
    """Find the sign between cells: that of which the header has most."""
    return max(DELIMITERS, key=lambda sign: len(_header(source, sign).cells))


def read_tsv(source: Source) -> Table:
    """Read rows whose cells are parted by tabs.

    The format has no quoting (IANA, text/tab-separated-values), though spreadsheets write it; so where
    quotes make no sense as quoting, they are characters.

    Raises:
        DataError: as `read_csv`.

    """
    if looks_like_conll(source):
        return read_conll(source)
    if any(record.fault for record in _records(source, "\t", csv.QUOTE_MINIMAL)):
        return _read(source, "\t", csv.QUOTE_NONE, "tsv", RAW_QUOTES)
    return _read(source, "\t", csv.QUOTE_MINIMAL, "tsv")


def _read(source: Source, delimiter: str, quoting: Quoting, format: str, *notes: str) -> Table:
    records = _records(source, delimiter, quoting)
    names = _named(source, _first(source, records))
    rows = Collector(source.file)
    for record in records:
        if record.blank:
            if source.blank_rows and len(names) == 1:
                rows.accept(record.first, {names[0]: ""})
            continue
        if record.fault == UNCLOSED and record.last > record.first:
            rule = f"{UNCLOSED}: it swallows {record.last - record.first} more lines"
            remedy = 'close it; a quote inside a quoted cell is written twice ("")'
            raise DataError(Fault(rule, f"{source.file}:{record.first}", remedy))
        if reason := record.fault or _misfit(record, len(names)) or flaw("".join(record.cells)):
            rows.reject(record.first, reason + _extent(record))
        else:
            rows.accept(record.first, dict(zip(names, record.cells, strict=True)))
    unnamed = [name for name, cell in zip(names, _header(source, delimiter).cells, strict=False) if not cell.strip()]
    called = [f"a column without a name is called '{name}'" for name in unnamed]
    return rows.table(names, format, source.encoding.name, [*source.notes, *called, *notes])


def _records(source: Source, delimiter: str, quoting: Quoting) -> Iterator[Record]:
    """Go through the rows, blank ones included."""
    csv.field_size_limit(LARGEST_CELL)
    with source.open() as lines:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        while True:
            first, cells, fault = reader.line_num + 1, [], ""
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fault = UNCLOSED if str(error) == "unexpected end of data" else f"its quotes make no sense: {error}"
            yield Record(first, reader.line_num, cells, fault)


def _header(source: Source, delimiter: str) -> Record:
    return _first(source, _records(source, delimiter, csv.QUOTE_MINIMAL))


def _first(source: Source, records: Iterator[Record]) -> Record:
    header = next((record for record in records if not record.blank), None)
    if header is None:
        raise DataError(Fault("the file is empty", source.file, "give a file with rows to learn from"))
    return header


def _named(source: Source, header: Record) -> tuple[str, ...]:
    place = f"{source.file}:{header.first}"
    cells = [cell.strip("\ufeff \t\r\n") for cell in header.cells]
    reason = header.fault or flaw("".join(cells))
    if not reason and sum(map(bool, cells)) * 2 < len(cells):
        reason = "most cells are empty"
    if not reason and any(len(cell) > LONGEST_NAME or "\n" in cell for cell in cells):
        reason = "a cell is a text"
    if reason:
        remedy = "write the columns' names into the first line, for example text,label"
        raise DataError(Fault(f"the first line does not name the columns: {reason}", place, remedy))
    names = [cell or f"column {number}" for number, cell in enumerate(cells, 1)]
    return unique_columns(names, place)


def _misfit(record: Record, width: int) -> str:
    found = len(record.cells)
    return "" if found == width else f"has {found} {'cell' if found == 1 else 'cells'}, the header has {width}"


def _extent(record: Record) -> str:
    lines = record.last - record.first + 1
    return f" ({lines} lines were read as one row: is a quote not closed?)" if lines > 1 else ""
