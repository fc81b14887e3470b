"""A cache of encoded rows in a run's folder: a resumed run and its other seeds load them instead of tokenizing again.

A file is named by a hash of everything its content depends on; a damaged or missing one is written again.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from kamerton.core.files import read_sealed, write_sealed
from kamerton.core.records import Encoded, Example

WORTHWHILE = 1000
"""Rows from which on loading saves noticeable time."""
FORMAT = 2
LISTS = {"tokens": np.int32, "output_positions": np.int32, "targets": np.int64, "segments": np.int32}
NUMBERS = {"cut": np.int64, "weight": np.float64, "number": np.float64}


def kept_rows(
    folder: Path | None, circumstances: str, examples: Sequence[Example], encode: Callable[[], list[Encoded]]
) -> list[Encoded]:
    """Load encoded examples from a folder, or encode them and write them there.

    `circumstances` is everything that the encoding depends on beside the examples; without a folder nothing is cached.
    """
    if folder is None or len(examples) < WORTHWHILE:
        return encode()
    digest = hashlib.sha256(repr((FORMAT, circumstances)).encode())
    for example in examples:
        digest.update(repr((example.text, example.gold, dict(example.fields))).encode("utf-8", "surrogatepass"))
    place = folder / f"{digest.hexdigest()}.rows"
    kept = read_sealed(place)
    if kept is not None:
        return read_rows(kept)
    rows = encode()
    if not any(sequence.extra for row in rows for sequence in row.extra):
        with suppress(OSError):  # a full disk only costs the cache
            write_sealed(place, written_rows(rows))
    return rows


def written_rows(rows: Sequence[Encoded]) -> bytes:
    """Return encoded rows as bytes; extra sequences must have none of their own."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    columns: dict[str, Any] = {"extra": np.array([len(row.extra) for row in rows], dtype=np.int64)}
    for name, kind in LISTS.items():
        parts = [vars(sequence)[name] for sequence in sequences]
        columns[f"{name}_lengths"] = np.array([len(part) for part in parts], dtype=np.int64)
        columns[name] = np.fromiter(chain.from_iterable(parts), dtype=kind)
    for name, number in NUMBERS.items():
        columns[name] = np.array([vars(sequence)[name] for sequence in sequences], dtype=number)
    file = io.BytesIO()
    np.savez(file, **columns)
    return file.getvalue()


def read_rows(data: bytes) -> list[Encoded]:
    """Return the rows that `written_rows` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    parts: dict[str, Any] = {name: _split(columns[name], columns[f"{name}_lengths"]) for name in LISTS}
    parts |= {name: columns[name].tolist() for name in NUMBERS}
    sequences = [Encoded(**dict(zip(parts, values, strict=True))) for values in zip(*parts.values(), strict=True)]
    rows, at = [], 0
    for count in columns["extra"].tolist():
        first, *others = sequences[at : at + 1 + count]
        rows.append(replace(first, extra=tuple(others)) if others else first)
        at += 1 + count
    return rows


def _split(values: np.ndarray, lengths: np.ndarray) -> list[tuple[int, ...]]:
    every = iter(values.tolist())
    return [tuple(islice(every, length)) for length in lengths.tolist()]
