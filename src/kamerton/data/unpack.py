"""Open a file's bytes, packed or not, as often as they are needed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from kamerton.errors import DataError, Fault

CHUNK = 1 << 20
LARGEST = 8 << 30
"""Bytes of text, unpacked."""
DENSEST, FREE = 200, 64 << 20
"""How many times its own size a packed file may hold, from so many bytes on: text packs 3 to 20 times, a trap 1000."""


def _gzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path))


def _zstd(path: Path) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(pa.input_stream(str(path), compression="zstd")))


PACKERS: dict[str, Callable[[Path], BinaryIO]] = {".gz": _gzip, ".zst": _zstd, ".zstd": _zstd}
"""How to open what ends so."""


@dataclass(frozen=True)
class Bytes:
    """The unpacked bytes of one file."""

    file: str
    """As the user named it."""
    open: Callable[[], BinaryIO]
    """Begin to read them."""
    most: int = LARGEST
    """How many there may be."""

    def chunks(self) -> Iterator[bytes]:
        """Read them piece by piece.

        Raises:
            DataError: there are more than there may be.
        """
        size = 0
        with self.open() as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > self.most:
                    rule = f"it holds more than {self.most / (1 << 20):,.0f} MiB of text"
                    raise DataError(Fault(rule, self.file, "take a part of the rows, or write them as Parquet"))
                yield chunk


def bytes_of(path: Path) -> Bytes:
    """Find out how to open a file: the end of its name says how it is packed."""
    packer = PACKERS.get(path.suffix.lower())
    if packer is None:
        return Bytes(str(path), lambda: path.open("rb"))
    return Bytes(str(path), lambda: packer(path), min(LARGEST, max(FREE, DENSEST * path.stat().st_size)))


def held(file: str, raw: bytes) -> Bytes:
    """Treat bytes in memory like those of a file."""
    return Bytes(file, lambda: io.BytesIO(raw))


@contextmanager
def failures_told(path: Path) -> Iterator[None]:
    """Turn what a disk or an unpacker says into an error with a place and a remedy.

    Raises:
        DataError: the file cannot be read or unpacked.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, pa.ArrowInvalid) as error:
        raise DataError(_not_whole(path, error)) from None
    except OSError as error:
        if path.suffix.lower() in PACKERS and error.errno is None:
            raise DataError(_not_whole(path, error)) from None
        rule = f"the file cannot be read: {error.strerror or error}"
        raise DataError(Fault(rule, str(path), "check that you may read it")) from None


def _not_whole(path: Path, error: Exception) -> Fault:
    kind = "gzip" if path.suffix.lower() == ".gz" else "Zstandard"
    return Fault(f"this is not a whole {kind} file: {error}", str(path), "pack it again")
