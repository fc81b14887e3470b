"""Data at an address (`s3://bucket/rows.csv`): private copies in the cache folder, fetched again where they changed."""

import hashlib
import posixpath
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from kamerton.core.addresses import address_of
from kamerton.core.errors import DataError, Fault, RunError
from kamerton.core.figures import Figure
from kamerton.core.files import cache_folder, remove, sha256_of, write_json
from kamerton.core.messages import msg
from kamerton.core.readers import read_object
from kamerton.core.storage import Storage
from kamerton.data.named import ENDINGS, MAGIC, format_of, is_aside

MOST = 10_000
"""Files of a folder."""
VERSIONS = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "mtime", "created")
"""What storage says of an object's version, by fsspec's systems."""


def fetched_files(address: str) -> list[Path]:
    """Return private copies of the data files at an address: of a file, a folder, or a pattern.

    Raises:
        DataError: there are none, too many, or they do not fit on the disk.
    """
    try:
        folder, pattern = _root_of(address)
        storage = Storage.at(folder)
        names = [""] if not pattern and storage.is_file() else _listed(storage, pattern)
        if not names:
            remedy = msg("check the address and its case; files need a known ending, like .csv or .parquet")
            raise DataError(Fault(msg("there is no data at this address"), address, remedy))
        return [_copy(storage, name) for name in names]
    except RunError as error:
        raise DataError(error.faults) from error


def shown_name(path: Path, file: Path) -> str:
    """Return how a file of a path's data is named to the reader: by its address, where it has one."""
    address = address_of(path)
    if address is None:
        return str(file)
    folder = _root_of(address)[0]
    inside = file.relative_to(_folder_of(folder)).as_posix()
    return folder if file == _place(folder, "") else f"{folder}/{inside}"


def forget_fetched(path: str) -> None:
    """Remove the copies of data at an address."""
    if address := address_of(path):
        remove(_folder_of(_root_of(address)[0]))


def _root_of(address: str) -> tuple[str, str]:
    """Split an address into what stands before a pattern, and the pattern; an empty one if there is none."""
    protocol, _, path = address.partition("://")
    parts = path.split("/")
    fixed = next((number for number, part in enumerate(parts) if MAGIC & set(part)), len(parts))
    return f"{protocol}://{'/'.join(parts[:fixed])}", "/".join(parts[fixed:])


def _listed(storage: Storage, pattern: str) -> list[str]:
    names = [name for name in storage.names() if not is_aside(Path(name)) and format_of(Path(name)) in ENDINGS]
    found = [name for name in names if not pattern or fnmatchcase(name, pattern.replace("**/", "*"))]
    if len(found) > MOST:
        raise DataError(Fault(msg("there are more than {most} files", most=MOST), storage.address, msg("name a part")))
    return found


def _folder_of(address: str) -> Path:
    return cache_folder() / "fetched" / hashlib.sha256(address.encode()).hexdigest()[:16]


def _place(address: str, name: str) -> Path:
    """Return where the copy of an object is; of the address itself for an empty name."""
    return _folder_of(address) / (name or posixpath.basename(address))


def _copy(storage: Storage, name: str) -> Path:
    """Return the copy of an object, fetched unless the one that is here is of the same version and whole."""
    target = _place(storage.address, name)
    about, told = target.with_name(f".{target.name}.about"), storage.about(name)
    size, version = int(told["size"] or 0), {key: str(told[key]) for key in VERSIONS if key in told}
    if about.exists() and target.exists() and version:
        known = read_object(about, DataError)
        if known == {"size": size, "version": version, "sha256": sha256_of(target)}:
            return target
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if size > (free := shutil.disk_usage(target.parent).free):
        rule = msg("the file has {size}, and {free} are free", size=Figure(size, "memory"), free=Figure(free, "memory"))
        remedy = msg("name another folder: KAMERTON_CACHE=FOLDER")
        raise DataError(Fault(rule, storage.place(name), remedy))
    storage.get(name, target)
    write_json(about, {"size": size, "version": version, "sha256": sha256_of(target)})
    return target
