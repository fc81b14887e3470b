"""Files whose first bytes show that they are not the data that their name promises."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kamerton.core.errors import DataError, Fault
from kamerton.core.messages import Message, msg, verbatim

HEAD = 4096
AGAIN = msg("download the file itself: open its address in a browser, sign in if asked, and save the data")
TABLE = msg("name a table: CSV, TSV, JSON, JSONL, Parquet or a workbook")
SAVE = msg("open it in the program that wrote it, and save the rows as CSV, JSONL or Parquet")
UNPICKLE = msg("load it with Python if you trust it (it can hold code), and save the rows as CSV, JSONL or Parquet")
PARQUET = msg("write it as Parquet")
UNPACK = msg("unpack it")
LFS = msg("a Git LFS pointer (the file itself was not fetched)")
ANNEX = msg("a git-annex pointer (the file itself was not fetched)")
ZIP = (".zip", ".xlsx", ".xlsm", ".ods")
OLD_OFFICE = msg("an old Excel or Word document")
FROM_SQLITE = msg("write the table as CSV: sqlite3 -header -csv FILE 'select * from TABLE'")
IMAGE, PROGRAM = msg("an image"), msg("a program")


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    begins: re.Pattern[bytes]
    what: Message
    remedy: Message
    endings: tuple[str, ...] = ()
    """Extensions that promise it."""


def _text(begins: bytes, what: Message, remedy: Message) -> Kind:
    return Kind(re.compile(rb"(?:\xef\xbb\xbf)?\s*" + begins, re.IGNORECASE), what, remedy)


def _binary(begins: bytes, what: Message, remedy: Message, *endings: str) -> Kind:
    return Kind(re.compile(re.escape(begins)), what, remedy, endings)


def _renamed(begins: bytes, what: Message, *endings: str, packs: bool = False) -> Kind:
    """Return a kind that is read under another name, or inside of which a table is packed."""
    ending = endings[0]
    after = msg("let its name end in {ending} after the format: rows.csv{ending}", ending=ending)
    return _binary(begins, what, after if packs else msg("let its name end in {ending}", ending=ending), *endings)


KINDS: Sequence[Kind] = (
    _text(rb"<(?:!doctype html|html|head|body)\b", msg("an HTML page"), AGAIN),
    _text(rb"<\?xml\b|<!DOCTYPE\b", verbatim("XML"), SAVE),
    _text(rb"version https://git-lfs\.github\.com/spec/", LFS, msg("fetch the file itself: git lfs pull")),
    _text(rb"(?:\.\./)*\.git/annex/objects/", ANNEX, msg("fetch the file itself: git annex get FILE")),
    _text(rb"\{\\rtf", msg("RTF text"), SAVE),
    _text(rb"%PDF-?", verbatim("PDF"), msg("copy the rows out of it into a table")),
    _text(rb"-----BEGIN [A-Z ]+-----", msg("a key or a certificate"), TABLE),
    _renamed(b"PAR1", verbatim("Parquet"), ".parquet"),
    _renamed(b"ARROW1", verbatim("Arrow"), ".arrow", ".feather"),
    _binary(b"FEA1", msg("an old Feather file"), msg("write it again with pandas: to_parquet")),
    _renamed(b"\x1f\x8b", verbatim("gzip"), ".gz", ".tgz", packs=True),
    _renamed(b"\x28\xb5\x2f\xfd", verbatim("Zstandard"), ".zst", ".zstd", packs=True),
    _renamed(b"BZh", verbatim("bzip2"), ".bz2", ".tbz2", packs=True),
    _renamed(b"\xfd7zXZ", verbatim("xz"), ".xz", ".txz", packs=True),
    _binary(b"7z\xbc\xaf'\x1c", msg("a 7z archive"), UNPACK),
    _binary(b"Rar!\x1a\x07", msg("a RAR archive"), UNPACK),
    _binary(b"PK\x03\x04", msg("a zip archive or an Excel workbook"), msg("let its name end in .zip or .xlsx"), *ZIP),
    _binary(b"\xd0\xcf\x11\xe0", OLD_OFFICE, msg("if it is an Excel workbook, let its name end in .xls"), ".xls"),
    _binary(b"SQLite format 3\0", msg("an SQLite database"), FROM_SQLITE),
    _binary(b"\x89HDF", verbatim("HDF5"), SAVE),
    _binary(b"\x93NUMPY", msg("a NumPy array"), SAVE),
    _binary(b"ORC", verbatim("ORC"), PARQUET),
    _binary(b"Obj\x01", verbatim("Avro"), PARQUET),
    *(_binary(begins, IMAGE, TABLE) for begins in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    _binary(b"RIFF", msg("an image or a sound"), TABLE),
    _binary(b"ID3", msg("a sound"), TABLE),
    *(_binary(begins, PROGRAM, TABLE) for begins in (b"\x7fELF", b"MZ\x90")),
    Kind(re.compile(rb"\x80[\x02-\x05](?:\x95.{8}|[\]}(cX\x8c])", re.DOTALL), msg("a Python pickle"), UNPICKLE),
)


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file by its first bytes; None for a text table.

    >>> str(kind_of(b"<!DOCTYPE html><title>Sign in</title>").what)
    'an HTML page'
    """
    return next((kind for kind in KINDS if kind.begins.match(head)), None)


def refuse_other(file: str, head: bytes, ending: str) -> None:
    """Check that a file may be what its name promises.

    Raises:
        DataError: it is of another kind.
    """
    kind = kind_of(head)
    if not kind or ending in kind.endings:
        return
    what, title = kind.what, re.search(rb"<title[^<>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
    if title:
        what = msg("{what} ('{title}')", what=what, title=title[1].decode("utf-8", "replace").strip())
    rule = msg("this is {what}, not the data that its name promises", what=what)
    raise DataError(Fault(rule, file, kind.remedy))
