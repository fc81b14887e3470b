"""Read a workbook's sheet: .xlsx, .ods, .xls; a row's line is its number in the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from kamerton.core.errors import DataError, Fault, nearest
from kamerton.core.figures import Figure
from kamerton.core.files import shell_word
from kamerton.core.messages import Joined, msg
from kamerton.data.head import Record, fill
from kamerton.data.options import Options
from kamerton.data.parts import COLUMNS, part_named
from kamerton.data.table import Table, joined
from kamerton.data.workbook import AS_CSV, ENCRYPTED, WITHOUT_PASSWORD, Errors, errors_of

FORMAT = "sheet"
SAMPLED = 1000
"""Rows looked at to find the header, and whether a sheet holds a table."""
EXACT = 1 << 53
"""Whole numbers from here on are not all known to a sheet."""
LARGEST_OLD = 256 << 20
"""Bytes of an .xls file."""


@dataclass(frozen=True)
class Sheet:
    """One sheet, its cells with errors beside it, which the library gives as empty ones."""

    name: str
    file: str
    held: CalamineSheet
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

    @property
    def is_table(self) -> bool:
        """Whether a row stands under a first one."""
        return sum(1 for _ in islice(self.records(), 2)) > 1


def read_sheet(path: Path, name: str, options: Options) -> Table:
    """Read the sheet that holds a table; of sheets that are named like parts of the data, all."""
    is_old = path.read_bytes()[:2] != b"PK"
    if is_old and path.stat().st_size > LARGEST_OLD:
        rule = msg("the workbook is larger than {most}", most=Figure(LARGEST_OLD, "memory"))
        raise DataError(Fault(rule, name, AS_CSV))
    errors = {} if is_old else errors_of(path, name)
    try:
        with closing(CalamineWorkbook.from_path(path)) as workbook:
            sheets = [
                Sheet(one.name, name, workbook.get_sheet_by_name(one.name), errors.get(one.name, {}))
                for one in workbook.sheets_metadata
                if one.typ == SheetTypeEnum.WorkSheet
                and (one.visible == SheetVisibleEnum.Visible or one.name == options.sheet)
            ]
            chosen = _chosen(sheets, name, options)
            return joined([_table(sheet, options, len(chosen) > 1) for sheet in chosen])
    except PasswordError:
        raise DataError(Fault(ENCRYPTED, name, WITHOUT_PASSWORD)) from None
    except CalamineError as error:
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
    tables = [sheet for sheet in sheets if sheet.is_table]
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
    filling = fill(sheet.file, list(islice(sheet.records(), SAMPLED)), options, beside)
    for record in sheet.records():
        if record.first > filling.head.line:
            filling.take(record)
    return replace(
        filling.table(FORMAT, "utf-8", [msg("read from the sheet '{sheet}'", sheet=sheet.name)]), reshaped=True
    )


def _seen(cell: object) -> object:
    """Return a cell as it is shown: whole numbers without a decimal point, dates and times in ISO format."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < EXACT:
        return int(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell) if isinstance(cell, timedelta) else cell
