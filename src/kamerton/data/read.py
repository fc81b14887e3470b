"""Read data of any known format into a table: every row is used, or rejected with its place and reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kamerton.data.encoding import Source, decode
from kamerton.data.find import files_of
from kamerton.data.named import ENDINGS, format_of, require_file
from kamerton.data.options import FOUND, Options
from kamerton.data.read_arrow import read_arrow, read_parquet
from kamerton.data.read_conll import read_conll
from kamerton.data.read_csv import read_csv, read_tsv
from kamerton.data.read_json import read_json, read_jsonl
from kamerton.data.read_text import read_text
from kamerton.data.shapes import reshaped
from kamerton.data.table import Table, joined
from kamerton.data.unpack import PACKERS, bytes_of, failures_told
from kamerton.errors import DataError, Fault

TEXT_READERS: dict[str, Callable[[Source], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".txt": read_text,
    ".conll": read_conll,
    ".conllu": read_conll,
    ".bio": read_conll,
    ".iob": read_conll,
}
TABLE_READERS: dict[str, Callable[[Path], Table]] = {".parquet": read_parquet, ".arrow": read_arrow}
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")


def read_table(path: Path, options: Options = FOUND) -> Table:
    """Read a data file, or all of a folder, a pattern, or a data set of the Hugging Face hub, as one table.

    The end of a file's name says its format: CSV, TSV, JSON, JSONL, plain text, CoNLL (each also with .gz or .zst),
    Parquet, Arrow. Each row knows its own file.

    Args:
        path: as the user named it.
        options: how, where the files do not tell.

    Raises:
        DataError: there is no such file, one cannot be read as a whole, or more than half of its rows cannot.

    """
    tables, faults = [], list[Fault]()
    for file in data_files(path):
        try:
            tables.append(reshaped(_read_file(file, options)))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return joined(tables)


def data_files(path: Path) -> Sequence[Path]:
    """List the files that `read_table` reads for a path, in its order.

    Raises:
        DataError: no data file is there.
    """
    return files_of(path, ENDINGS)


def _read_file(path: Path, options: Options) -> Table:
    require_file(path)
    suffix, packed = format_of(path), path.suffix.lower() in PACKERS
    with failures_told(path):
        if suffix in TABLE_READERS and not packed:
            return TABLE_READERS[suffix](path)
        if suffix in TEXT_READERS:
            return TEXT_READERS[suffix](replace(decode(bytes_of(path)), options=options))
    ending = path.suffix if not packed else f"{suffix}{path.suffix}"
    rule = f"the end of the name, '{ending}', is no known format" if suffix else "the name does not say the format"
    remedy = f"let the name end in one of {', '.join(ENDINGS)}; text also in {' or '.join(PACKERS)}"
    if suffix in SHEETS:
        remedy = "save the sheet as CSV, encoded in UTF-8"
    raise DataError(Fault(rule, str(path), remedy))
