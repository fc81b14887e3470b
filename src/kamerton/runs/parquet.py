"""Read Parquet within a limit on what it unpacks to: a small file may claim any number of equal values."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kamerton.core.errors import Fault, RunError, Unusable
from kamerton.core.figures import Figure
from kamerton.core.messages import Wording, msg
from kamerton.core.readers import RESTORE, Kind
from kamerton.core.system import BoundedWork

DENSEST, FREE = 500, 256 << 20
"""How many times its own size a file may hold, from so many bytes on: columns of repeated texts pack some 100 times."""
SPARE, VALUE = 512 << 20, 32
"""Bytes of memory to read with, beside what the file may hold, and those of a number in Python."""


def parse_parquet(
    data: bytes, place: Path | str, kind: Kind = RunError, remedy: Wording = RESTORE
) -> list[dict[str, Any]]:
    """Parse a file's rows; raise an error of a kind if it is damaged, or holds more than its size allows."""
    with unpacking("Parquet", place, len(data), kind, remedy), pq.ParquetFile(pa.BufferReader(data)) as file:
        return [row for batch in batches(file, len(data)) for row in batch.to_pylist()]


def batches(file: pq.ParquetFile, size: int, at_once: int = 1000) -> Iterator[pa.RecordBatch]:
    """Yield the rows, some at once; raise `Unusable` where they hold more than a file of its size may."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    _require(max(VALUE * values, sum(group.total_byte_size for group in groups)), size)
    held = 0
    for batch in file.iter_batches(at_once, use_threads=False):
        _require(held := held + batch.nbytes, size)
        yield batch


def _require(held: float, size: int) -> None:
    most = max(FREE, DENSEST * size)
    if held > most:
        raise Unusable(msg("unpacked, it holds more than {most}", most=Figure(most, "memory")))


@contextmanager
def unpacking(format: str, place: Path | str, size: int, kind: Kind, remedy: Wording) -> Iterator[None]:
    """Turn what libraries raise for a file of a format and size into an error of a kind, and bound their memory."""
    try:
        with BoundedWork(0, max(FREE, DENSEST * size) + SPARE):
            try:
                yield
            except MemoryError:
                _require(math.inf, size)
            return
    except (pa.ArrowException, OSError, OverflowError) as error:
        first = str(error).strip().split("\n")[0]
        rule: Wording = msg("the {kind} file cannot be read: {error}", kind=format, error=first)
    except UnicodeDecodeError as error:
        rule = msg("a text in it is not UTF-8: {error}", error=error.reason)
    except Unusable as error:
        rule = error.message
    raise kind(Fault(rule, str(place), remedy))
