"""What a workbook is before it is opened: how large its sheets are, and which cells hold an error.

Both are read from the parts of the zip archive (ECMA-376 for .xlsx, ISO/IEC 26300 for .ods), streaming: a cell far
below and right of the others, or one that is repeated millions of times, makes a small file ask for all the memory
there is; and the library that reads the values gives cells with errors as empty ones.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from kamerton.core.errors import DataError, Fault
from kamerton.core.figures import Figure
from kamerton.core.messages import msg
from kamerton.data.unpack import CHUNK, largest_of

MOST_CELLS = 20_000_000
"""Cells of a sheet between its corners: some 700 MB while they are read."""
LETTERS = {letter: number for number, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1)}
SMALL = 16 << 20
"""Bytes of the part that lists the sheets."""
ENCRYPTED, WITHOUT_PASSWORD = msg("the workbook is encrypted"), msg("save it without a password")
AS_CSV = msg("save the sheet as CSV")
LISTED = "xl/workbook.xml"
RELATED = "xl/_rels/workbook.xml.rels"
BROKEN = (
    zipfile.BadZipFile,
    expat.ExpatError,
    ElementTree.ParseError,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
)
"""What the parts of a damaged workbook raise."""
Errors = Mapping[tuple[int, int], str]
"""What stands in cells with an error, by row and column from 0."""


def is_workbook(path: Path) -> bool:
    """Return whether a file of any name is an .xlsx or .ods workbook by what the archive holds."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as held:
            names = {*held.namelist()}
            return LISTED in names or ("content.xml" in names and b"spreadsheet" in held.read("mimetype")[:100])
    except BROKEN:
        return False


def errors_of(path: Path, name: str) -> dict[str, Errors]:
    """Return the cells of a workbook that hold errors, by sheet.

    Raises:
        DataError: it is damaged, encrypted, or larger than can be read.
    """
    try:
        with zipfile.ZipFile(path) as held:
            _require_small(held, path, name)
            if "content.xml" in held.namelist():
                _scanned(held, "content.xml", _Repeats(name))
                return {}
            return {sheet: _scanned(held, part, _Cells(name)).errors for sheet, part in _parts(held).items()}
    except BROKEN as error:
        rule = msg("this is not a whole workbook: {error}", error=str(error))
        raise DataError(Fault(rule, name, msg("save it again"))) from None
    except RuntimeError:  # zipfile's word for what is encrypted
        raise DataError(Fault(ENCRYPTED, name, WITHOUT_PASSWORD)) from None


def _require_small(held: zipfile.ZipFile, path: Path, name: str) -> None:
    size, most = sum(info.file_size for info in held.infolist()), largest_of(path)
    if size > most:
        rule = msg("unpacked, the workbook holds {size}, more than {most}", size=Figure(size, "memory"),
                   most=Figure(most, "memory"))  # fmt: skip
        raise DataError(Fault(rule, name, AS_CSV))


def _parts(held: zipfile.ZipFile) -> dict[str, str]:
    if held.getinfo(LISTED).file_size > SMALL or held.getinfo(RELATED).file_size > SMALL:
        raise zipfile.BadZipFile("the list of sheets is too long")
    related = {
        one.get("Id"): one.get("Target", "") for one in ElementTree.fromstring(held.read(RELATED)) if one.get("Id")
    }
    sheets = [one for one in ElementTree.fromstring(held.read(LISTED)).iter() if one.tag.rpartition("}")[2] == "sheet"]
    parts = dict[str, str]()
    for sheet in sheets:
        id = next((value for key, value in sheet.items() if key.rpartition("}")[2] == "id"), "")
        target = related.get(id, "").lstrip("/")
        target = target if target.startswith("xl/") else f"xl/{target}"
        if "worksheets/" in target:
            parts[sheet.get("name", "")] = target
    return parts


def _scanned(held: zipfile.ZipFile, part: str, scan: _Scan) -> _Scan:
    with held.open(part) as file:
        while chunk := file.read(CHUNK):
            scan.parser.Parse(chunk)
    scan.parser.Parse(b"", True)
    return scan


class _Scan(ABC):
    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = self.columns = 0
        self.errors: dict[tuple[int, int], str] = {}
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = lambda tag, given: self.start(tag.rpartition(":")[2], given)

    @abstractmethod
    def start(self, tag: str, given: Mapping[str, str]) -> None:
        """Handle the start of an element."""

    def reach(self, row: int, column: int) -> None:
        """Extend the sheet to a cell, counted from 1.

        Raises:
            DataError: the sheet is larger than can be read.
        """
        self.rows, self.columns = max(self.rows, row), max(self.columns, column)
        if self.rows * self.columns > MOST_CELLS:
            rule = msg("a sheet of {rows} rows and {columns} columns has more than {most} cells", rows=self.rows,
                       columns=self.columns, most=MOST_CELLS)  # fmt: skip
            remedy = msg("delete what stands far outside the table, or save it as CSV")
            raise DataError(Fault(rule, self.name, remedy))


class _Cells(_Scan):
    """The cells of an .xlsx sheet: `<row r="2"><c r="B2" t="e"><v>#N/A</v></c></row>`, `r` being optional."""

    row = column = 0
    error = False

    def start(self, tag: str, given: Mapping[str, str]) -> None:
        """Handle the start of an element; a cell counts if it holds a value."""
        if tag == "c":
            self.column = _column(given["r"]) if "r" in given else self.column + 1
            self.error = given.get("t") == "e"
        elif tag in ("v", "is"):
            self.reach(self.row, self.column)
            self.parser.CharacterDataHandler = self._read_error if self.error and tag == "v" else None
        elif tag == "row":
            self.row, self.column = int(given["r"]) if given.get("r", "").isdecimal() else self.row + 1, 0
            self.parser.CharacterDataHandler = None

    def _read_error(self, text: str) -> None:
        place = self.row - 1, self.column - 1
        self.errors[place] = self.errors.get(place, "") + text.strip()


class _Repeats(_Scan):
    """The cells of an .ods sheet, each of which may stand for many: `table:number-columns-repeated="16384"`."""

    row, column, repeated, wide = 0, 0, 1, 1

    def start(self, tag: str, given: Mapping[str, str]) -> None:
        """Handle the start of an element; a cell counts if it holds a value."""
        if tag in ("table-cell", "covered-table-cell"):
            self.wide = _times(given, "columns")
            self.column += self.wide
            if any(key.endswith(":value-type") for key in given):
                self.reach(self.row + self.repeated, self.column)
        elif tag == "table-row":
            self.row += self.repeated if self.row or self.column else 0
            self.repeated, self.column = _times(given, "rows"), 0
        elif tag == "table":
            self.row = self.column = self.rows = self.columns = 0


def _times(given: Mapping[str, str], what: str) -> int:
    written = given.get("table:number-" + what + "-repeated", "1")
    return int(written) if written.isdecimal() and len(written) < len(str(MOST_CELLS)) + 1 else MOST_CELLS


def _column(reference: str) -> int:
    """Read the letters of a reference as a number from 1.

    >>> _column("A1"), _column("AB17")
    (1, 28)
    """
    number = 0
    for sign in reference:
        if sign not in LETTERS:
            break
        number = number * len(LETTERS) + LETTERS[sign]
    return number
