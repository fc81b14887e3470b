"""Read data of any known format into a table: every row is used, or rejected with its place and reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kamerton.core.errors import DataError, Fault
from kamerton.data.archive import unpacked
from kamerton.data.encoding import Source, decode
from kamerton.data.find import files_of
from kamerton.data.kinds import HEAD, refuse_other
from kamerton.data.named import ARCHIVES, ENDINGS, PARTS, SHEETS, format_of, require_file
from kamerton.data.options import FOUND, Options
from kamerton.data.parallel import Side, read_parallel, sides_of
from kamerton.data.read_arrow import read_arrow, read_parquet
from kamerton.data.read_conll import read_conll
from kamerton.data.read_csv import read_csv, read_tsv
from kamerton.data.read_json import read_json, read_jsonl
from kamerton.data.read_sheet import read_sheet
from kamerton.data.read_text import read_text
from kamerton.data.read_unnamed import looks_like_json, read_unnamed
from kamerton.data.shapes import reshaped
from kamerton.data.table import Table, joined
from kamerton.data.unpack import PACKERS, bytes_of, failures_told
from kamerton.data.workbook import is_workbook

TEXT_READERS: dict[str, Callable[[Source], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".txt": read_text,
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2"), read_conll),
    **dict.fromkeys(PARTS, read_unnamed),
}
PLAIN = (".csv", ".tsv", ".txt")
"""Ends of names under which JSON is found, too."""
TABLE_READERS: dict[str, Callable[[Path, str], Table]] = {".parquet": read_parquet, ".arrow": read_arrow}


def read_table(path: Path, options: Options = FOUND) -> Table:
    """Read a data file, or all of a folder, a pattern, or a data set of the Hugging Face hub, as one table.

    The end of a file's name says its format: CSV, TSV, JSON, JSONL, plain text, CoNLL (each also packed), Parquet,
    Arrow, workbooks; and zip and tar archives of such files. Each row knows its own file.

    Raises:
        DataError: there is no such file, one cannot be read as a whole, or more than half of its rows cannot.
    """
    sides = sides_of([(file, str(file)) for file in data_files(path)])
    return joined(_all([partial(_read_sides, some, options) for some in sides]))


def data_files(path: Path) -> Sequence[Path]:
    """Return the files that `read_table` reads for a path, in its order.

    Raises:
        DataError: no data file is there.
    """
    return files_of(path, ENDINGS)


def _all(readers: Sequence[Callable[[], Sequence[Table]]]) -> list[Table]:
    """Read all files; raise the faults of all of them at once."""
    tables, faults = list[Table](), list[Fault]()
    for read in readers:
        try:
            tables += read()
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return tables


def _read_sides(sides: Sequence[Side], options: Options) -> Sequence[Table]:
    if len(sides) == 1:
        return _read(sides[0].path, options)
    for side in sides:
        require_file(side.path)
    with failures_told(sides[0].path):
        return [read_parallel(sides)]


def _read(path: Path, options: Options) -> Sequence[Table]:
    require_file(path)
    if format_of(path) not in ARCHIVES:
        return [_read_file(path, str(path), options)]
    with failures_told(path), unpacked(path, ENDINGS) as members:
        sides = sides_of([(member.path, member.name) for member in members])
        tables = _all([partial(_listed, some, options) for some in sides])
        return [replace(table, reshaped=True) for table in tables]


def _listed(sides: Sequence[Side], options: Options) -> Sequence[Table]:
    return [read_parallel(sides) if len(sides) > 1 else _read_file(sides[0].path, sides[0].name, options)]


def _read_file(path: Path, name: str, options: Options) -> Table:
    suffix, packed = format_of(path), path.suffix.lower() in PACKERS
    with failures_told(path, name):
        if not packed and (suffix in SHEETS or is_workbook(path)):
            return reshaped(_read_workbook(path, name, options))
        if suffix in TABLE_READERS and not packed:
            with path.open("rb") as file:
                refuse_other(name, file.read(HEAD), suffix)
            return reshaped(TABLE_READERS[suffix](path, name))
        source = replace(decode(bytes_of(path, name)), options=options)
        if suffix in PLAIN and looks_like_json(source):
            return replace(reshaped(read_json(source)), reshaped=True)
        return reshaped(TEXT_READERS.get(suffix, read_unnamed)(source))


def _read_workbook(path: Path, name: str, options: Options) -> Table:
    """Read a workbook; a text table under a workbook's name, as programs export it, is read as text."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[:2] in (b"PK", b"\xd0\xcf"):
        return read_sheet(path, name, options)
    refuse_other(name, head, "")
    return read_csv(replace(decode(bytes_of(path, name)), options=options))
