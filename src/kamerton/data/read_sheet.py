"""Read a workbook's sheet: .xlsx, .ods, .xls; a row's line is its number in the sheet.

Before it is opened, two things are read from the parts of the zip archive (ECMA-376 for .xlsx, ISO/IEC 26300 for .ods),
streaming. Its sizes: a cell far below and right of the others, or one that is repeated millions of times, makes a small
file ask for all the memory there is. And its errors: the library that reads the values gives such cells as empty ones.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice, takewhile
from pathlib import Path
from string import ascii_uppercase
from xml.etree.ElementTree import ParseError, fromstring
from xml.parsers import expat

import python_calamine as calamine

from kamerton.core.errors import DataError, Fault, nearest
from kamerton.core.figures import Figure
from kamerton.core.files import shell_word
from kamerton.core.messages import Joined, msg
from kamerton.data.head import Record, fill
from kamerton.data.parts import COLUMNS, part_named
from kamerton.data.table import Options, Table, joined
from kamerton.data.unpack import CHUNK, largest_of

SAMPLED = 1000
"""Rows looked at to find the header, and whether a sheet holds a table."""
EXACT = 1 << 53
"""Whole numbers from here on are not all known to a sheet."""
LARGEST_OLD = 256 << 20
"""Bytes of an .xls file."""
MOST_CELLS = 20_000_000
"""Cells of a sheet between its corners: some 700 MB while they are read."""
SMALL = 16 << 20
"""Bytes of the part that lists the sheets."""
ENCRYPTED, WITHOUT_PASSWORD = msg("the workbook is encrypted"), msg("save it without a password")
AS_CSV = msg("save the sheet as CSV")
LISTED = "xl/workbook.xml"
RELATED = "xl/_rels/workbook.xml.rels"
BROKEN = (zipfile.BadZipFile, expat.ExpatError, ParseError, zlib.error, EOFError, KeyError, NotImplementedError)
"""What the parts of a damaged workbook raise."""
Errors = Mapping[tuple[int, int], str]
"""What stands in cells with an error, by row and column from 0."""


@dataclass(frozen=True)
class Sheet:
    """One sheet, its cells with errors beside it, which the library gives as empty ones."""

    name: str
    file: str
    held: calamine.CalamineSheet
    errors: Errors

    def records(self) -> Iterator[Record]:
        """Yield the rows that hold anything."""
        left = self.held.start[1] if self.held.start else 0
        for number, cells in enumerate(self.held.iter_rows()):
            seen = [_seen(cell) for cell in cells]
            if self.errors:
                seen = [self.errors.get((number, left + at), cell) for at, cell in enumerate(seen)]
            record = Record(number + 1, number + 1, seen)
            if record.used:
                yield record


def read_sheet(path: Path, name: str, options: Options) -> Table:
    """Read the sheet that holds a table; of sheets that are named like parts of the data, all."""
    is_old = path.read_bytes()[:2] != b"PK"
    if is_old and path.stat().st_size > LARGEST_OLD:
        rule = msg("the workbook is larger than {most}", most=Figure(LARGEST_OLD, "memory"))
        raise DataError(Fault(rule, name, AS_CSV))
    errors = {} if is_old else errors_of(path, name)
    try:
        with closing(calamine.CalamineWorkbook.from_path(path)) as workbook:
            sheets = [
                Sheet(one.name, name, workbook.get_sheet_by_name(one.name), errors.get(one.name, {}))
                for one in workbook.sheets_metadata
                if one.typ == calamine.SheetTypeEnum.WorkSheet
                and (one.visible == calamine.SheetVisibleEnum.Visible or one.name == options.sheet)
            ]
            chosen = _chosen(sheets, name, options)
            return joined([_table(sheet, options, len(chosen) > 1) for sheet in chosen])
    except calamine.PasswordError:
        raise DataError(Fault(ENCRYPTED, name, WITHOUT_PASSWORD)) from None
    except calamine.CalamineError as error:
        rule = msg("the workbook cannot be read: {error}", error=str(error))
        raise DataError(Fault(rule, name, msg("save it again, or as CSV"))) from None


def _chosen(sheets: Sequence[Sheet], file: str, options: Options) -> Sequence[Sheet]:
    """Return the sheet that is meant, or those of the parts."""
    if options.sheet is not None:
        named = [sheet for sheet in sheets if sheet.name == options.sheet]
        if not named and not options.blank_rows:  # rows to be answered may stand in a sheet of another name
            remedy = nearest(options.sheet, [sheet.name for sheet in sheets])
            raise DataError(Fault(msg("there is no sheet '{sheet}'", sheet=options.sheet), file, remedy))
        if named:
            return named
    tables = [sheet for sheet in sheets if len(list(islice(sheet.records(), 2))) > 1]
    wide = [sheet for sheet in tables if sheet.held.width > 1]
    found = wide if len(wide) == 1 else tables
    if not found:
        rule = msg("no sheet of the workbook holds rows")
        raise DataError(Fault(rule, file, msg("give a workbook with rows to learn from")))
    parts = [part_named(sheet.name) for sheet in found]
    if len(found) == 1 or (None not in parts and len(set(parts)) == len(parts)):
        return found
    held = [msg("'{sheet}' ({rows} rows)", sheet=sheet.name, rows=sheet.held.height) for sheet in found]
    flags = [f"`--set {shell_word('data.sheet=' + sheet.name)}`" for sheet in found]
    rule = msg("several sheets hold rows: {sheets}", sheets=Joined(held, ", "))
    raise DataError(Fault(rule, file, msg("which one is meant? {flags}", flags=Joined(flags, " or "))))


def _table(sheet: Sheet, options: Options, is_part: bool) -> Table:
    beside = {COLUMNS[0]: sheet.name} if is_part else {}
    filling = fill(sheet.file, list(islice(sheet.records(), SAMPLED)), sheet.records(), options, beside)
    note = msg("read from the sheet '{sheet}'", sheet=sheet.name)
    return replace(filling.table("sheet", "utf-8", [note]), reshaped=True)


def _seen(cell: object) -> object:
    """Return a cell as it is shown: whole numbers without a decimal point, dates and times in ISO format."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < EXACT:
        return int(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, timedelta) else cell


# ── before it is opened ───────────────────────────────────────────────────────────────────────


def is_workbook(path: Path) -> bool:
    """Return whether a file of any name is an .xlsx or .ods workbook by what the archive holds."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as held:
            names = {*held.namelist()}
            return LISTED in names or ("content.xml" in names and b"spreadsheet" in held.open("mimetype").read(100))
    except BROKEN:
        return False


def errors_of(path: Path, name: str) -> dict[str, Errors]:
    """Return the cells of a workbook that hold errors, by sheet; refuse one that is damaged, encrypted or too large."""
    try:
        with zipfile.ZipFile(path) as held:
            size, most = sum(info.file_size for info in held.infolist()), largest_of(path)
            if size > most:
                rule = msg("unpacked, the workbook holds {size}, more than {most}", size=Figure(size, "memory"),
                           most=Figure(most, "memory"))  # fmt: skip
                raise DataError(Fault(rule, name, AS_CSV))
            if "content.xml" in held.namelist():
                _scanned(held, "content.xml", _Repeats(name))
                return {}
            return {sheet: _scanned(held, part, _Cells(name)).errors for sheet, part in _parts(held).items()}
    except BROKEN as error:
        rule = msg("this is not a whole workbook: {error}", error=str(error))
        raise DataError(Fault(rule, name, msg("save it again"))) from None
    except RuntimeError:  # zipfile's word for what is encrypted
        raise DataError(Fault(ENCRYPTED, name, WITHOUT_PASSWORD)) from None


def _parts(held: zipfile.ZipFile) -> dict[str, str]:
    if held.getinfo(LISTED).file_size > SMALL or held.getinfo(RELATED).file_size > SMALL:
        raise zipfile.BadZipFile("the list of sheets is too long")
    related = {one.get("Id"): one.get("Target", "") for one in fromstring(held.read(RELATED)) if one.get("Id")}
    sheets = [one for one in fromstring(held.read(LISTED)).iter() if one.tag.rpartition("}")[2] == "sheet"]
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
        """Handle the start of an element; a cell counts if it holds a value."""

    def reach(self, row: int, column: int) -> None:
        """Extend the sheet to a cell, counted from 1; refuse one that is larger than can be read."""
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

    row, column, repeated = 0, 0, 1

    def start(self, tag: str, given: Mapping[str, str]) -> None:
        if tag in ("table-cell", "covered-table-cell"):
            self.column += _times(given, "columns")
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
    for letter in takewhile(ascii_uppercase.__contains__, reference):
        number = number * len(ascii_uppercase) + ascii_uppercase.index(letter) + 1
    return number
