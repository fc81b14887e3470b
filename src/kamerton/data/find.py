"""Find the data files of a path: a file, a folder, a pattern, an archive, or a data set of the Hugging Face hub."""

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, cast

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the base of its HTTP library
from huggingface_hub.errors import LocalEntryNotFoundError as NotHere

from kamerton.core.addresses import address_of
from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.files import scratch_folder
from kamerton.core.messages import msg
from kamerton.data.encoding import decode
from kamerton.data.fetched import fetched_files
from kamerton.data.named import ARCHIVES, ENDINGS, MAGIC, PACKED, format_of, is_aside, is_on_hub, is_pattern
from kamerton.data.unpack import CHUNK, PACKERS, bytes_of, largest_of

CONVERTED = "refs/convert/parquet"
"""The branch with the hub's Parquet copy of a data set."""
MOST_FILES = 10_000
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged archive raises."""
UNPACK = msg("unpack it, and name the folder instead")
CODES = (
    "ar|az|be|bg|bn|ca|cs|da|de|el|en|es|et|fa|fi|fr|he|hi|hr|hu|hy|it|ja|ka|kk|ko|ky|lt|lv|mn|nl|no|pl|pt|ro|ru|sk|sl|"
    "sr|sv|tg|th|tr|tt|uk|ur|uz|vi|zh|eng|rus|deu|fra|spa|ukr|bel|kaz|tat"
)
"""Codes of languages, as the ends of names."""
SIDES = {"src": "source", "source": "source", "tgt": "target", "trg": "target", "target": "target"}
"""Ends of names that say the side instead of the language, and what the column is called."""
NAME = re.compile(rf"(.*?)(?:^|[._-])({CODES}|{'|'.join(SIDES)})(\.txt)?", re.IGNORECASE)


def data_files(path: Path) -> list[Path]:
    """List the data files that a path names, sorted.

    Args:
        path: a file (even a missing one, if it can be nothing else), a folder, searched recursively, a pattern
            (`data/*.csv`, `data/**/*.jsonl`), an address of one of these (`s3://bucket/rows.csv`), whose files are
            fetched, or an id like `org/name` of the Hugging Face hub.

    Raises:
        DataError: there is no data file, or the path cannot be accessed.
    """
    if address := address_of(path):
        return fetched_files(address)
    try:
        if path.is_dir():
            if files := _listed(path):
                return files
            remedy = msg("add files with one of these extensions: {known}", known=", ".join(sorted(ENDINGS)))
            raise DataError(Fault(msg("the folder holds no data file"), str(path), remedy))
        if not path.is_file() and is_pattern(path):
            return _matching(path)
        return _from_hub(str(path)) if not path.exists() and is_on_hub(path) else partners_of(path)
    except OSError as error:
        rule = msg("the file cannot be accessed: {error}", error=error.strerror or str(error))
        raise DataError(Fault(rule, str(path), msg("name a data file"))) from None


def _matching(pattern: Path) -> list[Path]:
    fixed = next(number for number, part in enumerate(pattern.parts) if MAGIC & set(part))
    found = sorted(Path(*pattern.parts[:fixed]).glob(str(Path(*pattern.parts[fixed:]))))
    files = [file for path in found for file in (_listed(path) if path.is_dir() else [path])]
    if not files:
        rule, remedy = msg("no file matches the pattern"), msg("check the pattern; ** matches folders at any depth")
        raise DataError(Fault(rule, str(pattern), remedy))
    return list(dict.fromkeys(files))


def _listed(folder: Path) -> list[Path]:
    """List a folder's data files, at any depth; archives only if there is nothing else."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_aside(path.relative_to(folder))]
    found = [path for path, _ in _with_data([(path, str(path)) for path in files])]
    return [path for path in found if format_of(path) not in ARCHIVES] or found


def _with_data(files: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return the files whose names say a format, or that are parallel to others."""
    parallel = {side.name for sides in sides_of(files) if len(sides) > 1 for side in sides}
    return [(path, name) for path, name in files if name in parallel or format_of(Path(name)) in ENDINGS]


def _from_hub(name: str) -> list[Path]:
    """Return the files of a data set in the cache, or download them; code is never downloaded."""
    wanted = [f"*{suffix}{packed}" for suffix in ENDINGS for packed in ("", *PACKED)]
    for revision in (None, CONVERTED):
        try:
            folder = Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=wanted))
        except (HTTPError, NotHere, OSError) as error:
            first = str(error).strip().partition("\n")[0]
            rule = msg("'{name}' is not a file here, and cannot be downloaded as a data set of the Hugging Face hub: "
                       "{error}", name=name, error=first)  # fmt: skip
            remedy = msg("check the name; without a network, download it elsewhere and name its folder")
            raise DataError(Fault(rule, name, remedy)) from None
        if files := _listed(folder):
            return files
    remedy = msg("save it as Parquet with the library `datasets`: dataset.to_parquet(...)")
    raise DataError(Fault(msg("the data set holds no file that can be read"), name, remedy))


# ── parallel files, one for each language, aligned by line: `train.en` and `train.ru` (Moses, OPUS) ─


@dataclass(frozen=True)
class Side:
    """One of several files that belong together."""

    path: Path
    name: str
    """As it is shown."""
    column: str


def language_of_file(path: PurePath) -> tuple[str, str, bool] | None:
    """Return the part of a file's name that it shares with its other languages, its language, and if it ends in .txt.

    >>> language_of_file(PurePath("data/train.en")), language_of_file(PurePath("corpus.ru-en.RU.gz"))
    (('train', 'en', False), ('corpus.ru-en', 'ru', False))
    >>> language_of_file(PurePath("test_src.txt")), language_of_file(PurePath("notes.txt"))
    (('test', 'source', True), None)
    """
    name = path.name
    while name.lower().endswith(PACKED):
        name = name.rpartition(".")[0]
    found = NAME.fullmatch(name)
    if not found:
        return None
    word = found[2].lower()
    return found[1], SIDES.get(word, word), found[3] is not None


def sides_of(files: Sequence[tuple[Path, str]]) -> list[list[Side]]:
    """Group files that are the same text in several languages; each other file stands alone.

    Files that end in `.txt` may be texts of their own: they belong together only if they have as many lines.
    """
    groups = dict[object, dict[str, Side]]()
    for path, name in files:
        found = language_of_file(PurePath(name))
        key: object = (PurePath(name).parent, found[0], found[2]) if found else name
        column = found[1] if found else ""
        if column in groups.get(key, {}):
            key = name
        groups.setdefault(key, {})[column] = Side(path, name, column)
    found_groups = [list(group.values()) for group in groups.values()]
    return [part for group in found_groups for part in ([group] if _belong(group) else [[side] for side in group])]


def partners_of(path: Path) -> list[Path]:
    """Return a file and its parallel files in other languages; only itself if its name does not say a language."""
    found = language_of_file(path)
    if not found or found[2] or not path.is_file():
        return [path]
    known = {other: language_of_file(other) for other in sorted(path.parent.iterdir()) if other.is_file()}
    others = [other for other, name in known.items() if name and name[0] == found[0] and not name[2]]
    return [path, *(other for other in others if other != path)] if len(others) > 1 else [path]


def _belong(sides: Sequence[Side]) -> bool:
    if len(sides) < 2 or not all(side.path.suffix == ".txt" or side.name.endswith(".txt") for side in sides):
        return len(sides) > 1
    return len({sum(1 for _ in decode(bytes_of(side.path, side.name)).lines()) for side in sides}) == 1


# ── archives ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def unpacked(path: Path) -> Iterator[list[tuple[Path, str]]]:
    """Unpack the data files of a zip or tar archive within the context; yield where each is, and its name in full.

    Raises:
        DataError: it is damaged, encrypted or too large; it holds links, archives, names leading out of it, or no data.
    """
    with scratch_folder() as folder:
        try:
            members = sorted(_members(path, folder), key=lambda member: member[1])
        except DAMAGED as error:
            rule = msg("the archive is damaged: {error}", error=str(error))
            raise DataError(Fault(rule, str(path), msg("pack it again"))) from None
        known = _with_data(members)
        if not known and len(members) != 1:
            names = ", ".join(name.rpartition("/")[2] for _, name in members[:5])
            only, empty = msg("the archive holds no data file, only: {names}", names=names), msg("the archive is empty")
            remedy = msg("add files with one of these extensions: {known}", known=", ".join(ENDINGS))
            raise DataError(Fault(only if names else empty, str(path), remedy))
        yield known or members


def _members(path: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    left = largest_of(path)
    for number, (written, is_link, opened) in enumerate(_entries(path)):
        name = written.replace("\\", "/")
        _require_harmless(path, name, is_link)
        if number >= MOST_FILES:
            raise DataError(Fault(msg("the archive holds more than {most} files", most=MOST_FILES), str(path), UNPACK))
        if is_aside(PurePosixPath(name)):
            continue
        target = folder / str(number) / PurePosixPath(name).name
        target.parent.mkdir()
        try:
            source = opened()
        except RuntimeError:  # what zipfile raises for an encrypted file
            raise DataError(Fault(msg("'{name}' is encrypted", name=written), str(path), UNPACK)) from None
        if source is not None:
            with source, target.open("wb") as file:
                while chunk := source.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise _too_large(path, largest_of(path))
                    file.write(chunk)
        yield target, f"{path}/{name}"


def _require_harmless(path: Path, name: str, is_link: bool) -> None:
    parts = PurePosixPath(name).parts
    if is_link:
        rule, remedy = msg("the archive holds a link: '{name}'", name=name), msg("pack the file itself")
    elif name.startswith("/") or not parts or ".." in parts or ":" in parts[0]:
        rule = msg("a file name in the archive leads out of it: '{name}'", name=name)
        remedy = msg("pack the archive again from inside its folder")
    elif format_of(Path(name)) in ARCHIVES and not is_aside(PurePosixPath(name)):
        rule, remedy = msg("the archive holds another archive: '{name}'", name=name), UNPACK
    else:
        return
    raise DataError(Fault(rule, str(path), remedy))


def _entries(path: Path) -> Iterator[tuple[str, bool, Callable[[], IO[bytes] | None]]]:
    """Yield the name of each file, whether it is a link, and how to open it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as held:
            for info in held.infolist():
                link = stat.S_ISLNK(info.external_attr >> 16)
                if info.filename and not info.is_dir():  # names can be empty in a damaged archive
                    yield info.filename, link, lambda info=info: held.open(info)  # type: ignore[misc]
        return
    packer = PACKERS.get({".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}.get(path.suffix.lower(), path.suffix.lower()))
    with (
        packer(path) if packer else path.open("rb") as raw,
        tarfile.open(fileobj=cast(IO[bytes], _Bounded(raw, path)), mode="r|") as tar,
    ):
        for file in tar:
            if not file.isdir():
                yield file.name, not file.isfile(), lambda file=file: tar.extractfile(file)  # type: ignore[misc]


class _Bounded:
    """A stream of a tar archive's bytes that ends with an error at twice the size that its files may have."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self.raw, self.path, self.left = raw, path, 2 * largest_of(path)

    def read(self, size: int) -> bytes:
        """Read bytes, as long as the file does not unpack to more than its limit."""
        chunk = self.raw.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise _too_large(self.path, 2 * largest_of(self.path))
        return chunk


def _too_large(path: Path, most: int) -> DataError:
    rule = msg("unpacked, the archive holds more than {most}", most=Figure(most, "memory"))
    return DataError(Fault(rule, str(path), UNPACK))
