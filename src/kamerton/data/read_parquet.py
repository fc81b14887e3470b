"""Read Parquet; a row's line is its number, from 1."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.data.encoding import flaw
from kamerton.data.table import Collector, Table, unique_columns
from kamerton.errors import DataError, Fault

MOST_ROWS = 50_000_000
"""A small file can claim any number of equal rows; this many fit into memory."""


def read_parquet(path: Path) -> Table:
    """Read the rows; dates and decimals become text.

    Raises:
        DataError: not a whole Parquet file, columns of the same name, too many rows, no rows, mostly bad ones.

    """
    remedy = "write the file again with pyarrow or pandas"
    try:
        with pq.ParquetFile(path) as file:
            return _read(str(path), file)
    except (pa.ArrowException, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(Fault(f"the Parquet file cannot be read: {first}", str(path), remedy)) from None
    except UnicodeDecodeError as error:
        raise DataError(Fault(f"a text in it is not UTF-8: {error.reason}", str(path), remedy)) from None


def _read(name: str, file: pq.ParquetFile) -> Table:
    columns = unique_columns(file.schema_arrow.names, name)
    if file.metadata.num_rows > MOST_ROWS:
        fault = Fault(f"{file.metadata.num_rows} rows are more than {MOST_ROWS}", name, "take a part of the rows")
        raise DataError(fault)
    rows, number = Collector(name), 0
    for batch in file.iter_batches():
        for values in batch.to_pylist():
            number += 1
            try:
                plain = {column: _plain(value) for column, value in values.items()}
            except UnicodeDecodeError:
                rows.reject(number, "holds bytes that are not text")
                continue
            reason = next((reason for v in plain.values() if isinstance(v, str) and (reason := flaw(v))), "")
            if reason:
                rows.reject(number, reason)
            else:
                rows.accept(number, plain)
    return rows.table(columns, "parquet", "utf-8", ())


def _plain(value: object) -> object:
    """Make a value of what JSON knows: text, numbers, truth, lists, objects."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
