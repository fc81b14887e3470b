"""Read CSV and TSV: cells stay the text they are."""

from __future__ import annotations

from dataclasses import replace

from kamerton.data.dialect import Dialect, Sample, find_dialect, records
from kamerton.data.encoding import Source
from kamerton.data.head import fill
from kamerton.data.read_conll import looks_like_conll, read_conll
from kamerton.data.read_webanno import is_webanno, read_webanno
from kamerton.data.table import Table


def read_csv(source: Source) -> Table:
    """Read rows delimited by a comma, a semicolon, a tab or a bar, whichever fits most rows."""
    return read_cells(source, find_dialect(source), "csv")


def delimiter_of(source: Source) -> str:
    """Return the delimiter of a file."""
    return find_dialect(source).dialect.delimiter


def read_tsv(source: Source) -> Table:
    """Read rows delimited by tabs, or by another sign if there are none."""
    if is_webanno(source):
        return read_webanno(source)
    return read_conll(source) if looks_like_conll(source) else read_cells(source, find_dialect(source), "tsv")


def read_cells(source: Source, sample: Sample, format: str) -> Table:
    """Read a table that is written in a known way."""
    dialect, first = sample.dialect, sample.records
    if dialect.delimiter == "\t" and _quotes_are_letters(source, dialect):
        dialect = replace(dialect, quote="")
        first = tuple(record for record, _ in zip(records(source, dialect), range(len(first)), strict=False))
    filling = fill(source.file, first, source.options)
    for record in records(source, dialect):
        if record.first > filling.head.line:
            filling.take(record)
    return filling.table(format, source.encoding.label, [*source.notes, *dialect.notes])


def _quotes_are_letters(source: Source, dialect: Dialect) -> bool:
    """Return whether quotes between tabs are plain characters.

    The format has none (IANA, text/tab-separated-values), though spreadsheets write it. A cell that seems to hold a
    tab and a line's end is the beginning of one row and the end of another.
    """
    return any(
        record.fault or (record.last > record.first and any("\t" in cell and "\n" in cell for cell in record.cells))
        for record in records(source, dialect)
    )
