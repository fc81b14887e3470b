"""What a file is by its first bytes, where its name promises data and it holds something else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.errors import DataError, Fault

HEAD = 4096
"""Bytes looked at."""
AGAIN = "download the file itself: open its address in a browser, sign in if it asks, and save the data"
TABLE = "give a table: CSV, TSV, JSON, JSONL, Parquet or a workbook"
SAVE = "open it in what wrote it, and save the rows as CSV, JSONL or Parquet"
UNPICKLE = "load it with Python where you trust it, and save the rows as CSV, JSONL or Parquet: it can hold code"


@dataclass(frozen=True)
class Kind:
    """One thing that a file may be."""

    begins: re.Pattern[bytes]
    what: str
    remedy: str
    endings: tuple[str, ...] = ()
    """Ends of names that promise it."""


def _kind(begins: bytes, what: str, remedy: str, *endings: str) -> Kind:
    return Kind(re.compile(rb"(?:\xef\xbb\xbf)?\s*" + begins, re.IGNORECASE), what, remedy, endings)


def _exact(begins: bytes, what: str, remedy: str, *endings: str) -> Kind:
    return Kind(re.compile(re.escape(begins)), what, remedy, endings)


KINDS: Sequence[Kind] = (
    _kind(rb"<(?:!doctype html|html|head|body)\b", "an HTML page", AGAIN),
    _kind(rb"<\?xml\b|<!DOCTYPE\b", "XML", SAVE),
    _kind(
        rb"version https://git-lfs\.github\.com/spec/",
        "a Git LFS pointer (the file itself was not fetched)",
        "fetch the file itself: git lfs pull",
    ),
    _kind(
        rb"(?:\.\./)*\.git/annex/objects/",
        "a git-annex pointer (the file itself was not fetched)",
        "fetch the file itself: git annex get FILE",
    ),
    _kind(rb"\{\\rtf", "RTF text", SAVE),
    _kind(rb"%PDF-?", "PDF", "copy the rows out of it into a table"),
    _kind(rb"-----BEGIN [A-Z ]+-----", "a key or a certificate", TABLE),
    _exact(b"PAR1", "Parquet", "let the name end in .parquet", ".parquet"),
    _exact(b"ARROW1", "Arrow", "let the name end in .arrow", ".arrow", ".feather"),
    _exact(b"FEA1", "an old Feather file", "write it again with pandas: to_parquet"),
    _exact(b"\x1f\x8b", "gzip", "let the name end in .gz after the format: rows.csv.gz", ".gz", ".tgz"),
    _exact(
        b"\x28\xb5\x2f\xfd", "Zstandard", "let the name end in .zst after the format: rows.csv.zst", ".zst", ".zstd"
    ),
    _exact(b"BZh", "bzip2", "let the name end in .bz2 after the format: rows.csv.bz2", ".bz2", ".tbz2"),
    _exact(b"\xfd7zXZ", "xz", "let the name end in .xz after the format: rows.csv.xz", ".xz", ".txz"),
    _exact(b"7z\xbc\xaf'\x1c", "a 7z archive", "unpack it"),
    _exact(b"Rar!\x1a\x07", "a RAR archive", "unpack it"),
    _exact(
        b"PK\x03\x04",
        "a zip archive or an Excel workbook",
        "let the name end in .zip or .xlsx",
        ".zip",
        ".xlsx",
        ".xlsm",
        ".ods",
    ),
    _exact(b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "let the name end in .xls if it is Excel's", ".xls"),
    _exact(
        b"SQLite format 3\0",
        "an SQLite database",
        "write the table as CSV: sqlite3 -header -csv FILE 'select * from TABLE'",
    ),
    _exact(b"\x89HDF", "HDF5", SAVE),
    _exact(b"\x93NUMPY", "a NumPy array", SAVE),
    _exact(b"ORC", "ORC", "write it as Parquet"),
    _exact(b"Obj\x01", "Avro", "write it as Parquet"),
    _exact(b"\x89PNG", "an image", TABLE),
    _exact(b"\xff\xd8\xff", "an image", TABLE),
    _exact(b"GIF8", "an image", TABLE),
    _exact(b"RIFF", "a picture or a sound", TABLE),
    _exact(b"ID3", "a sound", TABLE),
    _exact(b"\x7fELF", "a program", TABLE),
    _exact(b"MZ\x90", "a program", TABLE),
    Kind(re.compile(rb"\x80[\x02-\x05](?:\x95.{8}|[\]}(cX\x8c])", re.DOTALL), "a Python pickle", UNPICKLE),
)


def kind_of(head: bytes) -> Kind | None:
    """Recognise what is no text table by its first bytes.

    >>> kind_of(b"<!DOCTYPE html><title>Sign in</title>").what
    'an HTML page'
    """
    return next((kind for kind in KINDS if kind.begins.match(head)), None)


def refuse_other(file: str, head: bytes, ending: str) -> None:
    """Check that a file may be what its name says.

    Raises:
        DataError: it is something else.
    """
    kind = kind_of(head)
    if kind and ending not in kind.endings:
        raise DataError(
            Fault(f"this is {kind.what}{_titled(head)}, not the data that its name promises", file, kind.remedy)
        )


def _titled(head: bytes) -> str:
    """Return the title of a page."""
    found = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
    return f" ('{found[1].decode('utf-8', 'replace').strip()}')" if found else ""
