"""Read Parquet, and Arrow as the library `datasets` saves it; a row's line is its number, from 1."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.core.errors import DataError, Fault
from kamerton.core.files import BAD_JSON
from kamerton.core.messages import msg
from kamerton.data.encoding import flaw
from kamerton.data.table import Collector, Table, unique_columns
from kamerton.runs.parquet import batches, unpacking

MOST_ROWS = 50_000_000
"""A small file can claim any number of equal rows; this many fit into memory."""
AT_ONCE = 1000
REMEDY = msg("write the file again with pyarrow or pandas")


def read_parquet(path: Path, name: str) -> Table:
    """Read the rows; dates and decimals become text, numbered classes their names."""
    size = path.stat().st_size
    with unpacking("Parquet", name, size, DataError, REMEDY), pq.ParquetFile(path) as file:
        _require_few(name, file.metadata.num_rows)
        return _read(name, file.schema_arrow, batches(file, size, AT_ONCE), "parquet")


def read_arrow(path: Path, name: str) -> Table:
    """Read the rows of an Arrow stream or file."""
    with unpacking("Arrow", name, path.stat().st_size, DataError, REMEDY), pa.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            return _read(name, reader.schema, _small(name, batches), "arrow")
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        return _read(name, stream.schema, _small(name, stream), "arrow")


def _require_few(name: str, rows: int) -> None:
    if rows > MOST_ROWS:
        rule = msg("{rows} rows are more than {most}", rows=rows, most=MOST_ROWS)
        raise DataError(Fault(rule, name, msg("take a part of the rows")))


def _small(name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        batch.validate(full=True)
        rows += len(batch)
        _require_few(name, rows)
        yield from (batch.slice(start, AT_ONCE) for start in range(0, len(batch), AT_ONCE))


def _read(name: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], format: str) -> Table:
    columns = unique_columns(schema.names, name)
    classes = _classes(schema)
    rows, number = Collector(name), 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            try:
                plain = {column: _plain(value) for column, value in values.items()}
            except UnicodeDecodeError:
                rows.reject(number, msg("holds bytes that are not text"))
                continue
            plain |= {column: _named(plain[column], names) for column, names in classes.items()}
            reason = next((reason for v in plain.values() if isinstance(v, str) and (reason := flaw(v))), "")
            rows.add(number, plain, reason)
    notes = [
        msg("the numbers in '{column}' are read as its classes: {classes}", column=name, classes=", ".join(some[:5]))
        for name, some in classes.items()
    ]
    return rows.table(columns, format, "utf-8", notes)


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _classes(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """Return the names of numbered classes by column; `datasets` keeps them in the schema."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(written)["info"]["features"]
    except (*BAD_JSON, KeyError, TypeError):
        return {}
    found = {column: _class_names(features.get(column)) for column in schema.names if isinstance(features, dict)}
    return {column: names for column, names in found.items() if names}


def _class_names(feature: Any) -> Sequence[str]:
    if not isinstance(feature, Mapping):
        return ()
    if feature.get("_type") != "ClassLabel":
        return _class_names(feature["feature"]) if "feature" in feature else ()
    names = feature.get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else ()


def _named(value: object, names: Sequence[str]) -> object:
    """Replace numbers of classes by their names; -1 means that the class is not known."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if value == -1:
        return None
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
