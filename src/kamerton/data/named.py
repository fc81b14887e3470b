"""What a user's word for the data names, told at once: without importing what reads it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path

from kamerton.errors import DataError, Fault

HUB_ID = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
MAGIC = set("*?[")
"""What makes a name a pattern."""
PACKED = (".gz", ".zst", ".zstd")
"""Ends of the names of packed files."""
ENDINGS = (
    ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".conll", ".conllu", ".bio", ".iob", ".parquet", ".arrow",
)  # fmt: skip
"""Ends of the names of data files."""


def format_of(path: Path) -> str:
    """Give the end of a name that says the format: `.csv` of `rows.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_pattern(path: Path) -> bool:
    """Say whether a path that is no file stands for several."""
    return bool(MAGIC & set(str(path)))


def is_on_hub(path: Path) -> bool:
    """Say whether a path that is not here is an id like `org/name` of the Hugging Face hub."""
    return not path.parent.exists() and bool(HUB_ID.fullmatch(str(path))) and not format_of(path)


def require_data(path: Path) -> None:
    """Let pass what may be data: a file, a folder, a pattern, an id of the hub.

    Raises:
        DataError: the path names nothing, or cannot be reached.
    """
    with suppress(OSError):  # what cannot be reached is told below
        if path.exists() or is_pattern(path) or is_on_hub(path):
            return
    require_file(path)


def require_file(path: Path) -> None:
    """Let pass a file.

    Raises:
        DataError: there is none, or it cannot be reached.
    """
    try:
        if path.is_file():
            return
        rule = "there is no such file"
    except OSError as error:
        rule = f"the file cannot be reached: {error.strerror}"
    raise DataError(Fault(rule, str(path), "give the path of a data file"))


def require_text_or_file(source: str) -> None:
    """Let pass a text, or a data file; a text that ends like a data file's name is taken for the name of one.

    Raises:
        DataError: there is no such file.
    """
    if format_of(Path(source)) in ENDINGS and not is_file(source):
        remedy = f"give the path of a data file; if it is a text: echo {shlex.quote(source)} | kamerton predict RUN -"
        raise DataError(Fault("there is no such file", source, remedy))


def is_file(source: str) -> bool:
    """Say whether a word names a file; what is longer than a file's name can be is a text."""
    try:
        return Path(source).is_file()
    except OSError:
        return False
