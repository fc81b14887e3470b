"""Unpack the data files of an archive into a temporary folder, with bounds on their number and size."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, cast

from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.messages import msg
from kamerton.data.named import ARCHIVES, format_of, is_aside
from kamerton.data.parallel import sides_of
from kamerton.data.unpack import CHUNK, PACKERS, largest_of

MOST_FILES = 10_000
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged archive raises."""
UNPACK = msg("unpack it, and name the folder instead")


@dataclass(frozen=True)
class ArchiveMember:
    """One file of an archive, unpacked."""

    name: str
    """The archive's name, a slash, and the file's name in the archive."""
    path: Path
    """Where it is unpacked."""


@dataclass(frozen=True)
class _Entry:
    name: str
    link: bool
    open: Callable[[], IO[bytes] | None]


@contextmanager
def unpacked(path: Path, endings: Iterable[str]) -> Iterator[list[ArchiveMember]]:
    """Unpack the data files of a zip or tar archive within the context.

    Raises:
        DataError: it is damaged, encrypted or too large; it holds links, archives, names leading out of it, or no data.
    """
    with TemporaryDirectory(prefix="kamerton-") as folder:
        try:
            members = sorted(_members(path, Path(folder)), key=lambda member: member.name)
        except DAMAGED as error:
            rule = msg("the archive is damaged: {error}", error=str(error))
            raise DataError(Fault(rule, str(path), msg("pack it again"))) from None
        sides = sides_of([(member.path, member.name) for member in members])
        parallel = {side.name for some in sides for side in some[1:] and some}
        known = [one for one in members if format_of(Path(one.name)) in endings or one.name in parallel]
        if not known and len(members) != 1:
            names = ", ".join(member.name.rpartition("/")[2] for member in members[:5])
            only, empty = msg("the archive holds no data file, only: {names}", names=names), msg("the archive is empty")
            remedy = msg("add files with one of these extensions: {known}", known=", ".join(endings))
            raise DataError(Fault(only if names else empty, str(path), remedy))
        yield known or members


def _members(path: Path, folder: Path) -> Iterator[ArchiveMember]:
    left = largest_of(path)
    for number, entry in enumerate(_entries(path)):
        name = _inner(path, entry)
        if number >= MOST_FILES:
            raise DataError(Fault(msg("the archive holds more than {most} files", most=MOST_FILES), str(path), UNPACK))
        if is_aside(PurePosixPath(name)):
            continue
        target = folder / str(number) / PurePosixPath(name).name
        target.parent.mkdir()
        left -= _copy(path, entry, target, left)
        yield ArchiveMember(f"{path}/{name}", target)


def _inner(path: Path, entry: _Entry) -> str:
    name = entry.name.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if entry.link:
        rule, remedy = msg("the archive holds a link: '{name}'", name=name), msg("pack the file itself")
        raise DataError(Fault(rule, str(path), remedy))
    if name.startswith("/") or not parts or ".." in parts or ":" in parts[0]:
        rule = msg("a file name in the archive leads out of it: '{name}'", name=name)
        raise DataError(Fault(rule, str(path), msg("pack the archive again from inside its folder")))
    if format_of(Path(name)) in ARCHIVES and not is_aside(PurePosixPath(name)):
        raise DataError(Fault(msg("the archive holds another archive: '{name}'", name=name), str(path), UNPACK))
    return name


def _copy(path: Path, entry: _Entry, target: Path, left: int) -> int:
    """Unpack one file of at most `left` bytes; return its size."""
    size = 0
    try:
        source = entry.open()
    except RuntimeError:  # what zipfile raises for an encrypted file
        raise DataError(Fault(msg("'{name}' is encrypted", name=entry.name), str(path), UNPACK)) from None
    if source is None:
        return 0
    with source, target.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > left:
                raise _too_large(path, largest_of(path))
            file.write(chunk)
    return size


def _entries(path: Path) -> Iterator[_Entry]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as held:
            for info in held.infolist():
                link = stat.S_ISLNK(info.external_attr >> 16)
                if info.filename and not info.is_dir():  # names can be empty in a damaged archive
                    yield _Entry(info.filename, link, lambda info=info: held.open(info))  # type: ignore[misc]
        return
    packer = PACKERS.get({".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}.get(path.suffix.lower(), path.suffix.lower()))
    with (
        packer(path) if packer else path.open("rb") as raw,
        tarfile.open(fileobj=cast(IO[bytes], _Bounded(raw, path)), mode="r|") as tar,
    ):
        for file in tar:
            if not file.isdir():
                yield _Entry(file.name, not file.isfile(), lambda file=file: tar.extractfile(file))  # type: ignore[misc]


class _Bounded:
    """A stream of a tar archive's bytes that ends with an error at twice the size that its files may have."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self.raw, self.path, self.left = raw, path, 2 * largest_of(path)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        chunk = self.raw.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise _too_large(self.path, 2 * largest_of(self.path))
        return chunk


def _too_large(path: Path, most: int) -> DataError:
    rule = msg("unpacked, the archive holds more than {most}", most=Figure(most, "memory"))
    return DataError(Fault(rule, str(path), UNPACK))
