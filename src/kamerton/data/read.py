"""Read data of any known format into a table: every row is used, or rejected with its place and reason."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kamerton.core.errors import DataError, Fault
from kamerton.data.encoding import Source, decode
from kamerton.data.fetched import shown_name
from kamerton.data.find import Side, data_files, sides_of, unpacked
from kamerton.data.kinds import HEAD, refuse_other
from kamerton.data.named import ARCHIVES, PARTS, SHEETS, format_of, require_file
from kamerton.data.read_arrow import read_arrow, read_parquet
from kamerton.data.read_conll import read_conll
from kamerton.data.read_csv import read_csv, read_tsv
from kamerton.data.read_json import read_json, read_jsonl
from kamerton.data.read_sheet import is_workbook, read_sheet
from kamerton.data.read_text import looks_like_json, read_parallel, read_text, read_unnamed
from kamerton.data.shapes import reshaped
from kamerton.data.table import FOUND, Options, Table, joined
from kamerton.data.unpack import PACKERS, bytes_of, failures_told

TEXT_READERS: dict[str, Callable[[Source], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".txt": read_text,
    **dict.fromkeys((".jsonl", ".ndjson"), read_jsonl),
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2"), read_conll),
    **dict.fromkeys(PARTS, read_unnamed),
}
PLAIN = (".csv", ".tsv", ".txt")
"""Ends of names under which JSON is found, too."""
TABLE_READERS: dict[str, Callable[[Path, str], Table]] = {".parquet": read_parquet, ".arrow": read_arrow}


def read_table(path: Path, options: Options = FOUND) -> Table:
    """Read a data file, or all of a folder, a pattern, an address, or a data set of the Hugging Face hub, as one table.

    The end of a file's name says its format: CSV, TSV, JSON, JSONL, plain text, CoNLL (each also packed), Parquet,
    Arrow, workbooks; and zip and tar archives of such files. Each row knows its own file.

    Raises:
        DataError: there is no such file, one cannot be read as a whole, or more than half of its rows cannot.
    """
    return joined(_all([(file, shown_name(path, file)) for file in data_files(path)], partial(_read, options=options)))


def _all(files: Sequence[tuple[Path, str]], read: Callable[[Sequence[Side]], Sequence[Table]]) -> list[Table]:
    """Read all files, parallel ones together; raise the faults of all of them at once."""
    tables, faults = list[Table](), list[Fault]()
    for sides in sides_of(files):
        try:
            tables += read(sides)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return tables


def _read(sides: Sequence[Side], options: Options) -> Sequence[Table]:
    for side in sides:
        require_file(side.path)
    path, read_sides = sides[0].path, partial(_read_sides, options=options)
    with failures_told(path):
        if len(sides) > 1 or format_of(path) not in ARCHIVES:
            return read_sides(sides)
        with unpacked(path) as members:
            return [replace(table, reshaped=True) for table in _all(members, read_sides)]


def _read_sides(sides: Sequence[Side], options: Options) -> Sequence[Table]:
    return [read_parallel(sides) if len(sides) > 1 else _read_file(sides[0].path, sides[0].name, options)]


def _read_file(path: Path, name: str, options: Options) -> Table:
    suffix, packed = format_of(path), path.suffix.lower() in PACKERS
    with failures_told(path, name):
        is_sheet = not packed and (suffix in SHEETS or is_workbook(path))
        if is_sheet or (suffix in TABLE_READERS and not packed):
            with path.open("rb") as file:
                head = file.read(HEAD)
            if is_sheet and head[:2] in (b"PK", b"\xd0\xcf"):
                return reshaped(read_sheet(path, name, options))
            refuse_other(name, head, "" if is_sheet else suffix)
            if not is_sheet:
                return reshaped(TABLE_READERS[suffix](path, name))
        source = replace(decode(bytes_of(path, name)), options=options)
        if suffix in PLAIN and looks_like_json(source):
            return replace(reshaped(read_json(source)), reshaped=True)
        # a text table under a workbook's name, as programs export it, is read as text
        return reshaped(read_csv(source) if is_sheet else TEXT_READERS.get(suffix, read_unnamed)(source))
