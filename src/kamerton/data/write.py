"""Write rows as the file they came from was written: same format, same columns, packed the same way."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.core.messages import Wording
from kamerton.core.records import Row
from kamerton.data.encoding import decode
from kamerton.data.named import SHEETS, format_of
from kamerton.data.read_csv import RAW_QUOTES, find_dialect
from kamerton.data.unpack import PACKERS, bytes_of

LINES = ".jsonl"
"""What rows are written as whose own format cannot be written."""
SHEET_AS = ".csv"

PARQUET = ".parquet"


@dataclass(frozen=True)
class Copy:
    """Some rows of one source file, to be written beside it."""

    source: Path
    target: Path
    rows: Sequence[Row]
    notes: Sequence[Wording]
    changed: frozenset[str]
    """The columns in which the rows differ from the source."""


def target_format(source: Path) -> str:
    """Return the end of the name under which a copy of a file is written.

    >>> target_format(Path("rows.csv.gz")), target_format(Path("tagged.conll")), target_format(Path("rows.xlsx"))
    ('.csv.gz', '.jsonl', '.csv')
    """
    if format_of(source) in SHEETS:
        return SHEET_AS
    suffix, packing = format_of(source), source.suffix if source.suffix.lower() in PACKERS else ""
    return f"{suffix}{packing}" if suffix in (*WRITERS, PARQUET) else LINES


def write_copy(copy: Copy, path: Path) -> None:
    """Write the rows to a path that becomes the target."""
    format = format_of(copy.target)
    if format == PARQUET:
        _write_parquet(copy, path)
    else:
        with _opened(copy.target, path) as file:
            WRITERS[format](copy, file)


@contextmanager
def _opened(target: Path, path: Path) -> Iterator[TextIO]:
    packing = target.suffix.lower()
    if packing == ".gz":
        with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
            yield file
    elif packing in PACKERS:
        with pa.output_stream(str(path), compression="zstd") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as file:
            yield file
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file


def _write_cells(copy: Copy, file: TextIO) -> None:
    tabs, sheet = format_of(copy.target) == ".tsv", format_of(copy.source) in SHEETS
    raw = tabs and RAW_QUOTES in copy.notes
    delimiter = "\t" if tabs else ","
    if not tabs and not sheet:
        delimiter = find_dialect(decode(bytes_of(copy.source))).dialect.delimiter
    quoting: Literal[0, 3] = csv.QUOTE_NONE if raw else csv.QUOTE_MINIMAL
    quotes = None if raw else '"'
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, quotechar=quotes, lineterminator="\n")
    columns = list(dict.fromkeys(name for row in copy.rows for name in row.values))
    writer.writerow(columns)
    writer.writerows([row.values.get(name, "") for name in columns] for row in copy.rows)


def _write_lines(copy: Copy, file: TextIO) -> None:
    file.writelines(json.dumps(dict(row.values), ensure_ascii=False) + "\n" for row in copy.rows)


def _write_json(copy: Copy, file: TextIO) -> None:
    json.dump([dict(row.values) for row in copy.rows], file, ensure_ascii=False, indent=1)
    file.write("\n")


def _write_text(copy: Copy, file: TextIO) -> None:
    texts = [str(row.values["text"]) for row in copy.rows]
    between = "\n\n" if any("\n" in text for text in texts) else "\n"
    file.write(between.join(texts) + "\n")


def _write_parquet(copy: Copy, path: Path) -> None:
    """Write the kept rows of the source's own table, so that all types are preserved."""
    with pq.ParquetFile(copy.source) as source:
        table = source.read()
    table = table.take(pa.array([row.place.line - 1 for row in copy.rows], pa.int64()))
    for at, field in enumerate(table.schema):
        if field.name in copy.changed:
            cells = zip(table.column(at).to_pylist(), copy.rows, strict=True)
            values = [_with_texts(cell, row.values.get(field.name)) for cell, row in cells]
            table = table.set_column(at, field, pa.array(values, field.type))
    pq.write_table(table, path)


def _with_texts(cell: object, new: object) -> object:
    """Replace the texts of a cell; other values keep their types."""
    if isinstance(cell, str):
        return new
    if isinstance(cell, dict) and isinstance(new, Mapping):
        return {key: _with_texts(item, new.get(key)) for key, item in cell.items()}
    if isinstance(cell, list) and isinstance(new, list) and len(cell) == len(new):
        return [_with_texts(item, other) for item, other in zip(cell, new, strict=True)]
    return new if isinstance(cell, int) and isinstance(new, int) else cell


WRITERS: Mapping[str, Callable[[Copy, TextIO], None]] = {
    ".csv": _write_cells,
    ".tsv": _write_cells,
    ".json": _write_json,
    ".jsonl": _write_lines,
    ".ndjson": _write_lines,
    ".txt": _write_text,
}
