"""Read a data file of any known format into a table: every row is used, or rejected with its place and reason."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from kamerton.data.encoding import Source, decode
from kamerton.data.read_csv import read_csv, read_tsv
from kamerton.data.read_json import read_json, read_jsonl
from kamerton.data.read_parquet import read_parquet
from kamerton.data.table import Table
from kamerton.errors import DataError, Fault

TEXT_READERS: dict[str, Callable[[Source], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
}
LARGEST = 2 << 30
"""Bytes of text, unpacked: what fits into memory with its rows. It also stops a small file that unpacks without end."""


def read_table(path: Path) -> Table:
    """Read CSV, TSV, JSON, JSONL (each also with .gz) or Parquet; the end of the file's name says which.

    Raises:
        DataError: the file is missing or cannot be read as a whole, or more than half of its rows cannot.

    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    _require_file(path)
    if suffix == ".parquet" and not packed:
        return read_parquet(path)
    if suffix not in TEXT_READERS:
        known = ", ".join([*TEXT_READERS, ".parquet"])
        ending = path.suffix if not packed else f"{suffix}{path.suffix}"
        rule = f"the end of the name, '{ending}', is no known format" if suffix else "the name does not say the format"
        raise DataError(Fault(rule, str(path), f"let the name end in one of {known}; text also in .gz"))
    return TEXT_READERS[suffix](decode(str(path), _bytes(path, packed)))


def _require_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        rule = "this is not a file but a folder" if path.is_dir() else "there is no such file"
    except OSError as error:
        rule = f"the file cannot be reached: {error.strerror}"
    raise DataError(Fault(rule, str(path), "give the path of a data file"))


def _bytes(path: Path, packed: bool) -> bytes:
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            raw: bytes = file.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(Fault(f"this is not a whole gzip file: {error}", str(path), "pack it again")) from None
    except OSError as error:
        fault = Fault(f"the file cannot be read: {error.strerror}", str(path), "check that you may read it")
        raise DataError(fault) from None
    if len(raw) > LARGEST:
        rule = f"the text is larger than {LARGEST >> 30} GiB"
        raise DataError(Fault(rule, str(path), "take a part of the rows, or write them as Parquet"))
    return raw
