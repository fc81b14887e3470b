"""A cache of encoded rows in a run's folder: a resumed run and its other seeds load them instead of tokenizing again.

A file is named by a hash of everything its content depends on; a damaged or missing one is written again.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from kamerton.core.files import replacing
from kamerton.core.records import Encoded, Example

WORTHWHILE = 1000
"""Rows from which on loading saves noticeable time."""
FORMAT = 2
LISTS = {"tokens": np.int32, "output_positions": np.int32, "targets": np.int64, "segments": np.int32}
NUMBERS = {"cut": np.int64, "weight": np.float64, "number": np.float64}
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


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
    place = folder / f"{digest.hexdigest()}.npz"
    if place.exists():
        try:
            return read_rows(place)
        except DAMAGED:
            with suppress(OSError):  # on a read-only disk it stays
                place.unlink()
    rows = encode()
    if not any(sequence.extra for row in rows for sequence in row.extra):
        with suppress(OSError):  # a full disk only costs the cache
            write_rows(place, rows)
    return rows


def write_rows(place: Path, rows: Sequence[Encoded]) -> None:
    """Write encoded rows down; extra sequences must have none of their own."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    columns: dict[str, Any] = {"extra": np.array([len(row.extra) for row in rows], dtype=np.int64)}
    for name, kind in LISTS.items():
        parts = [vars(sequence)[name] for sequence in sequences]
        columns[f"{name}_lengths"] = np.array([len(part) for part in parts], dtype=np.int64)
        columns[name] = np.fromiter(chain.from_iterable(parts), dtype=kind)
    for name, number in NUMBERS.items():
        columns[name] = np.array([vars(sequence)[name] for sequence in sequences], dtype=number)
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)


def read_rows(place: Path) -> list[Encoded]:
    """Load what `write_rows` wrote.

    Raises:
        OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile: the file is damaged.
    """
    with place.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
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
    if len(values) != lengths.sum():
        raise ValueError(len(values))
    return [tuple(islice(every, length)) for length in lengths.tolist()]
