"""Open a file's bytes, packed or not, as often as they are needed."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.messages import msg

CHUNK = 1 << 20
LARGEST = 8 << 30
"""Bytes of text, unpacked."""
DENSEST, FREE = 200, 64 << 20
"""How many times its own size a packed file may hold, from so many bytes on: text packs 3 to 20 times, a trap 1000."""


def _zstd(path: Path) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(pa.input_stream(str(path), compression="zstd")))


PACKERS: dict[str, Callable[[Path], BinaryIO]] = {
    ".gz": cast("Callable[[Path], BinaryIO]", gzip.open),
    ".bz2": cast("Callable[[Path], BinaryIO]", bz2.open),
    ".xz": cast("Callable[[Path], BinaryIO]", lzma.open),
    **dict.fromkeys((".zst", ".zstd"), _zstd),
}
"""How to open a packed file, by the end of its name."""


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
        """Read them piece by piece; raise `DataError` if there are more than there may be."""
        size = 0
        with self.open() as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > self.most:
                    rule = msg("it holds more than {size} of text", size=Figure(self.most, "memory"))
                    remedy = msg("take a part of the rows, or write them as Parquet")
                    raise DataError(Fault(rule, self.file, remedy))
                yield chunk


def bytes_of(path: Path, name: str | None = None) -> Bytes:
    """Return how to open a file: the end of its name says how it is packed."""
    if packer := PACKERS.get(path.suffix.lower()):
        return Bytes(name or str(path), lambda: packer(path), largest_of(path))
    return Bytes(name or str(path), lambda: path.open("rb"))


def largest_of(path: Path) -> int:
    """Return how many bytes a packed file may hold."""
    return min(LARGEST, max(FREE, DENSEST * path.stat().st_size))


def held(file: str, raw: bytes) -> Bytes:
    """Treat bytes in memory like those of a file."""
    return Bytes(file, lambda: io.BytesIO(raw))


@contextmanager
def failures_told(path: Path, name: str | None = None) -> Iterator[None]:
    """Turn errors of the disk or an unpacker into a `DataError` with a place and a remedy."""
    suffix = path.suffix.lower()
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid) as error:
        is_bad_gzip = isinstance(error, gzip.BadGzipFile)
        if isinstance(error, OSError) and not is_bad_gzip and (suffix not in PACKERS or error.errno is not None):
            rule = msg("the file cannot be read: {error}", error=error.strerror or str(error))
            raise DataError(Fault(rule, name or str(path), msg("check that you may read it"))) from None
        kind = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}.get(suffix, "Zstandard")
        rule = msg("this is not a whole {kind} file: {error}", kind=kind, error=str(error))
        raise DataError(Fault(rule, name or str(path), msg("pack it again"))) from None
