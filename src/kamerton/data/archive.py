"""Data files out of an archive, unpacked into a folder that is gone afterwards: bounded, and nowhere else."""

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
from kamerton.data.named import ARCHIVES, format_of, is_aside
from kamerton.data.parallel import sides_of
from kamerton.data.unpack import CHUNK, PACKERS, largest_of

MOST_FILES = 10_000
UNPACK = "unpack it, and give the folder"


@dataclass(frozen=True)
class Member:
    """One file of an archive, unpacked."""

    name: str
    """As it is called in the archive, after the archive's own name."""
    path: Path
    """Where it lies for now."""


@dataclass(frozen=True)
class _Entry:
    """What an archive says of one of its files."""

    name: str
    link: bool
    open: Callable[[], IO[bytes] | None]


@contextmanager
def unpacked(path: Path, endings: Iterable[str]) -> Iterator[list[Member]]:
    """Unpack an archive's data files for a while.

    Args:
        path: a zip or tar archive, the latter packed or not.
        endings: the ends of names that can be read.

    Raises:
        DataError: it is damaged, encrypted or too large; it holds links, archives, names leading out of it, or no data.
    """
    with TemporaryDirectory(prefix="kamerton-") as folder:
        try:
            members = sorted(_members(path, Path(folder)), key=lambda member: member.name)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            NotImplementedError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise DataError(Fault(f"this is not a whole archive: {error}", str(path), "pack it again")) from None
        sides = sides_of([(member.path, member.name) for member in members])
        parallel = {side.name for some in sides for side in some[1:] and some}
        known = [one for one in members if format_of(Path(one.name)) in endings or one.name in parallel]
        if not known and len(members) != 1:
            held = ", ".join(member.name.rpartition("/")[2] for member in members[:5]) or "nothing"
            raise DataError(
                Fault(
                    f"the archive holds no data file: {held}",
                    str(path),
                    f"put files there that end in {', '.join(endings)}",
                )
            )
        yield known or members


def _members(path: Path, folder: Path) -> Iterator[Member]:
    left = largest_of(path)
    for number, entry in enumerate(_entries(path)):
        name = _inner(path, entry)
        if number >= MOST_FILES:
            raise DataError(Fault(f"the archive holds more than {MOST_FILES} files", str(path), UNPACK))
        if is_aside(PurePosixPath(name)):
            continue
        target = folder / str(number) / PurePosixPath(name).name
        target.parent.mkdir()
        left -= _copy(path, entry, target, left)
        yield Member(f"{path}/{name}", target)


def _inner(path: Path, entry: _Entry) -> str:
    """Return the name of a file within its archive.

    Raises:
        DataError: it leads out of the archive, is a link, or another archive.
    """
    name = entry.name.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if entry.link:
        raise DataError(Fault(f"the archive holds a link: '{name}'", str(path), "pack the file itself"))
    if name.startswith("/") or not parts or ".." in parts or ":" in parts[0]:
        raise DataError(
            Fault(f"a name in the archive leads out of it: '{name}'", str(path), "pack it again from inside its folder")
        )
    if format_of(Path(name)) in ARCHIVES and not is_aside(PurePosixPath(name)):
        raise DataError(Fault(f"the archive holds another archive: '{name}'", str(path), UNPACK))
    return name


def _copy(path: Path, entry: _Entry, target: Path, left: int) -> int:
    """Unpack one file; return its size."""
    size = 0
    try:
        source = entry.open()
    except RuntimeError as error:  # zipfile's word for a file that is encrypted
        raise DataError(Fault(f"'{entry.name}' is encrypted: {error}", str(path), f"{UNPACK}")) from None
    if source is None:
        return 0
    with source, target.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > left:
                rule = f"unpacked, the archive holds more than {largest_of(path) / (1 << 20):,.0f} MiB"
                raise DataError(Fault(rule, str(path), UNPACK))
            file.write(chunk)
    return size


def _entries(path: Path) -> Iterator[_Entry]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as held:
            for info in held.infolist():
                link = stat.S_ISLNK(info.external_attr >> 16)
                if info.filename and not info.is_dir():  # a damaged archive has names without a letter
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
    """Bytes of a tar archive, read once and not beyond what such an archive may hold."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self.raw, self.path, self.left = raw, path, 2 * largest_of(path)

    def read(self, size: int) -> bytes:
        """Read the next bytes."""
        chunk = self.raw.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            rule = f"unpacked, the archive holds more than {2 * largest_of(self.path) / (1 << 20):,.0f} MiB"
            raise DataError(Fault(rule, str(self.path), UNPACK))
        return chunk
