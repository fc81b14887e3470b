"""Checks of the user's word for the data that need none of the readers."""

import re
from pathlib import Path, PurePath

from kamerton.core.addresses import address_of
from kamerton.core.errors import DataError, Fault
from kamerton.core.files import shell_word
from kamerton.core.messages import msg

NO_FILE = msg("there is no such file")
GIVE_FILE = msg("give the path of a data file")
HUB_ID = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
MAGIC = set("*?[")
"""What makes a name a pattern."""
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zstd")
"""Ends of the names of packed files."""
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
"""Ends of the names of workbooks."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz")
"""Ends of the names of files that hold others."""
PARTS = (".train", ".dev", ".valid", ".test", ".testa", ".testb")
"""Ends of names that say the part of the data, and nothing of the format: CoNLL-2003's, for one."""
ENDINGS = (
    ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".conll", ".conllu", ".bio", ".iob", ".parquet", ".arrow",
    ".iob2", *PARTS, *SHEETS, *ARCHIVES,
)  # fmt: skip
"""Ends of the names of data files."""
SAVED = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")
"""What the library `datasets` writes beside the rows."""
ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|change_?log|notice|citation|authors?)(?![a-z])[^.]*(\.(txt|md|rst|html?))?",
    re.IGNORECASE,
)
"""Names of files that say something about the data."""


def format_of(path: Path) -> str:
    """Return the end of a name that says the format: `.csv` of `rows.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_aside(path: PurePath) -> bool:
    """Return whether a file in a folder is none of the data: hidden, or about them.

    >>> is_aside(PurePath("__MACOSX/._train.csv")), is_aside(PurePath("README.txt")), is_aside(PurePath("train.csv"))
    (True, True, False)
    """
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return hidden or path.name in SAVED or bool(ABOUT.fullmatch(path.name))


def is_pattern(path: Path) -> bool:
    """Return whether a path that is no file stands for several."""
    return bool(MAGIC & set(str(path)))


def is_on_hub(path: Path) -> bool:
    """Return whether a path that is not here is an id like `org/name` of the Hugging Face hub."""
    return not path.parent.exists() and bool(HUB_ID.fullmatch(str(path))) and not format_of(path)


def require_data(path: Path) -> None:
    """Check that a path may be data: a file, a folder, a pattern, an id of the hub; raise `DataError` otherwise.

    Whether there is anything at an address shows when it is read.
    """
    if address_of(path):
        return
    try:
        if path.is_dir():
            next(path.iterdir(), None)  # raises where it may not be listed
        elif not is_pattern(path) and not is_on_hub(path):
            require_file(path)
    except OSError as error:
        raise DataError(_unreachable(path, error)) from error


def require_file(path: Path) -> None:
    """Check that a file is there and can be reached; raise `DataError` otherwise."""
    _refuse_stream(str(path))
    try:
        if path.is_file():
            return
    except OSError as error:
        raise DataError(_unreachable(path, error)) from error
    raise DataError(Fault(NO_FILE, str(path), GIVE_FILE))


def _unreachable(path: Path, error: OSError) -> Fault:
    return Fault(msg("this cannot be reached: {error}", error=error.strerror or str(error)), str(path), GIVE_FILE)


def require_text_or_file(source: str) -> None:
    """Check a text, or a data file, which must exist; a text that ends like a data file's name is taken for one."""
    _refuse_stream(source)
    if format_of(Path(source)) in ENDINGS and not names_data(source):
        command = f"echo {shell_word(source)} | kamerton predict RUN -"
        remedy = msg("give the path of a data file; if it is a text: {command}", command=command)
        raise DataError(Fault(NO_FILE, source, remedy))


def _refuse_stream(source: str) -> None:
    """Refuse a pipe or a device: it can be read once only, and data are read twice."""
    path = Path(source)
    try:
        is_stream = path.exists() and not path.is_file() and not path.is_dir()
    except OSError:
        return
    if is_stream:
        remedy = msg("write it to a file first; `kamerton predict RUN -` reads lines of standard input")
        raise DataError(Fault(msg("this is a pipe or a device, not a file"), source, remedy))


def names_data(source: str) -> bool:
    """Return whether a word names a file, or data at an address: it ends as their names do."""
    return is_file(source) or (format_of(Path(source)) in ENDINGS and address_of(source) is not None)


def is_file(source: str) -> bool:
    """Return whether a word names a file; what is longer than a file's name can be is a text."""
    try:
        return Path(source).is_file()
    except OSError:
        return False
