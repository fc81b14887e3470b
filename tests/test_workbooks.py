"""Workbooks and archives: what is read out of them, and what is refused, by size, by name and by kind."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from broken_files import as_csv, as_jsonl, as_parquet, ods, ods_rows, tarred, xlsx, xlsx_rows, zipped
from kamerton.core.errors import DataError
from kamerton.data import find
from kamerton.data.fix import fix_data
from kamerton.data.read import read_table
from kamerton.data.table import Options, Table
from kamerton.pipeline.prepare import parse_data
from kamerton.runs.recipe import resolve

ROWS = [{"text": f"Строка {at}, with a comma", "label": ("good", "bad")[at % 2]} for at in range(12)]
CELLS = [list(ROWS[0]), *([*row.values()] for row in ROWS)]
ABOUT = [["About this file"], ["Made by hand"]]


def read(folder: Path, name: str, content: bytes, options: Options | None = None) -> Table:
    (folder / name).write_bytes(content)
    return read_table(folder / name, options or Options())


def told(folder: Path, name: str, content: bytes, options: Options | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, name, content, options)
    assert all(str(fault.rule) and str(fault.place) and str(fault.remedy) for fault in caught.value.faults)
    return str(caught.value)


def values(table: Table) -> list[dict[str, object]]:
    return [dict(row.values) for row in table.rows]


# ── workbooks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.xlsx", xlsx({"Data": xlsx_rows(CELLS)})),
        ("rows.ods", ods({"Data": ods_rows(CELLS)})),
        ("rows.csv", xlsx({"Data": xlsx_rows(CELLS)})),
        ("rows", xlsx({"Data": xlsx_rows(CELLS)})),
        ("rows.xls", as_csv(ROWS)),
        ("rows.xlsx", xlsx({"About": xlsx_rows(ABOUT), "Data": xlsx_rows(CELLS), "Empty": ""})),
        ("rows.xlsx", xlsx({"Data": xlsx_rows(CELLS), "~Hidden": xlsx_rows(CELLS[:4])})),
        ("rows.xlsx", xlsx({"Data": xlsx_rows([["Отчёт"], [], *CELLS])})),
        ("rows.ods", ods({"Data": ods_rows(CELLS) + '<table:table-row table:number-rows-repeated="1048000"/>'})),
    ],
    ids=["xlsx", "ods", "named .csv", "no ending", "CSV named .xls", "other sheets", "hidden", "title", "empty below"],
)
def test_the_sheet_with_the_table_is_read(name: str, content: bytes, tmp_path: Path) -> None:
    assert values(read(tmp_path, name, content)) == ROWS


def test_cells_are_read_as_people_see_them_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    cells = [["text", "n", "when", "flag"], ["a b", 1, date(2024, 1, 2), True], [], ["c d", 0.5, None, "#N/A"]]
    table = read(tmp_path, "rows.xlsx", xlsx({"Data": xlsx_rows(cells)}))
    assert values(table) == [
        {"text": "a b", "n": 1, "when": "2024-01-02", "flag": True},
        {"text": "c d", "n": 0.5, "when": "", "flag": "#N/A"},
    ]
    assert [row.place.line for row in table.rows] == [2, 4]


def test_a_sheet_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    cells = [[f"This is the text of row {at}", ("good", "bad")[at % 2]] for at in range(12)]
    table = read(tmp_path, "rows.xlsx", xlsx({"Data": xlsx_rows(cells)}))
    assert table.columns == ("column 1", "column 2") and len(table.rows) == 12


def test_of_several_tables_one_is_asked_for(tmp_path: Path) -> None:
    content = xlsx({"Новые данные": xlsx_rows(CELLS), "Old": xlsx_rows(CELLS[:4])})
    message = told(tmp_path, "rows.xlsx", content)
    assert "'Новые данные' (13 rows), 'Old' (4 rows)" in message
    assert '--set "data.sheet=Новые данные"` or `--set data.sheet=Old`' in message
    assert len(read(tmp_path, "rows.xlsx", content, Options(sheet="Old")).rows) == 3
    assert "did you mean 'Old'?" in told(tmp_path, "rows.xlsx", content, Options(sheet="old"))
    found = parse_data(resolve(None, {"data.path": str(tmp_path / "rows.xlsx"), "data.sheet": "Новые данные"}))
    assert len(found.examples) == 12


def test_sheets_that_are_named_like_parts_are_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(xlsx({"train": xlsx_rows(CELLS), "test": xlsx_rows([CELLS[0], ["another", "bad"]])}))
    found = parse_data(resolve(None, {"data.path": str(path)}))
    assert sorted(set(found.sides.names.values())) == ["test", "train"] and len(found.examples) == 13


FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
WIDE = f"<row>{'<c><v>1</v></c>' * 16384}</row>"
MANY = '<table:table-row table:number-rows-repeated="1048576"><table:table-cell office:value-type="string" '


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.xlsx",
            xlsx({"S": xlsx_rows(CELLS) + FAR}),
            "1,048,576 rows and 16,384 columns has more than 20,000,000 cells",
        ),
        ("a.xlsx", xlsx({"S": WIDE + '<row r="9999"><c><v>1</v></c></row>'}), "9,999 rows and 16,384 columns"),
        ("a.ods", ods({"S": f'{MANY} table:number-columns-repeated="16384"/></table:table-row>'}), "16,384 columns"),
        ("a.ods", ods({"S": f'{MANY} table:number-columns-repeated="{"9" * 50}"/></table:table-row>'}), "cells"),
        ("a.xlsx", xlsx({"S": xlsx_rows([["x" * (70 << 20)]])}), "more than 64.0 MB"),
        ("a.xlsx", xlsx({"S": xlsx_rows(CELLS)})[:-9], "not a whole workbook"),
        ("a.xlsx", xlsx({"S": "<row><c>"}), "not a whole workbook"),
        ("a.xlsx", xlsx({"S": ""}), "no sheet of the workbook holds rows"),
        ("a.xlsx", zipped({"word/document.xml": "<w/>"}), "not a whole workbook"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(900), "cannot be read"),
        ("a.xlsx", b"%PDF-1.7", "PDF"),
    ],
    ids=[
        "far cell",
        "wide",
        "repeated",
        "repeated beyond reason",
        "bomb",
        "cut",
        "broken",
        "empty",
        "Word",
        "old",
        "PDF",
    ],
)
def test_a_workbook_that_is_none_or_too_large_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    assert message in told(tmp_path, name, content)


def test_a_billion_laughs_are_not_heard(tmp_path: Path) -> None:
    laughs = "".join(f"<!ENTITY l{at} '{10 * f'&l{at - 1};'}'>" for at in range(1, 10))
    cell = "<worksheet><sheetData><row><c><v>&l9;</v></c></row></sheetData></worksheet>"
    sheet = f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>{cell}'
    files = {"xl/worksheets/sheet1.xml": sheet}
    with zipfile.ZipFile(io.BytesIO(xlsx({"S": xlsx_rows(CELLS)}))) as held:
        whole = {name: held.read(name) for name in held.namelist()} | files
    assert "not a whole workbook" in told(tmp_path, "a.xlsx", zipped(whole))


# ── archives ──────────────────────────────────────────────────────────────────────────────────

PARTS: Mapping[str, str | bytes] = {
    "__MACOSX/._train.csv": b"\0\0",
    ".DS_Store": b"\0",
    "data/README.txt": "Read me first.\n",
    "data/LICENSE": "MIT\n",
    "data/train.csv": as_csv(ROWS),
    "data/test.jsonl": as_jsonl([{"text": f"New {row['text']}", "label": row["label"]} for row in ROWS[:6]]),
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.zip", zipped(PARTS)),
        ("all.tar", tarred(PARTS, "w:")),
        ("all.tar.gz", tarred(PARTS)),
        ("all.tgz", tarred(PARTS)),
        ("all.tar.bz2", tarred(PARTS, "w:bz2")),
        ("all.txz", tarred(PARTS, "w:xz")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_archive_is_read_as_the_folder_that_it_holds(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found = parse_data(resolve(None, {"data.path": str(tmp_path / name)}))
    assert len(found.examples) == 18 and sorted(set(found.sides.names.values())) == ["test", "train"]
    assert {Path(row.place.file).name for row in found.table.rows} == {"train.csv", "test.jsonl"}
    assert str(found.table.rows[17].place) == f"{tmp_path / name}/data/train.csv:13"


@pytest.mark.parametrize("inner", ["rows.parquet", "rows.xlsx", "SMSSpamCollection"])
def test_one_file_of_any_format_in_an_archive_is_read(inner: str, tmp_path: Path) -> None:
    contents = {
        "rows.parquet": as_parquet(ROWS),
        "rows.xlsx": xlsx({"S": xlsx_rows(CELLS)}),
        "SMSSpamCollection": as_csv(ROWS, "\t"),
    }
    content = zipped({inner: contents[inner], "readme": "about"})
    assert values(read(tmp_path, "rows.zip", content)) == ROWS


def with_link(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as held:
        info = tarfile.TarInfo("rows.csv")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        held.addfile(info)
    return file.getvalue()


def with_zip_link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        info = zipfile.ZipInfo("rows.csv")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        held.writestr(info, "/etc/passwd")
    return file.getvalue()


def encrypted() -> bytes:
    raw = bytearray(zipped({"rows.csv": as_csv(ROWS)}))
    raw[6] |= 1
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", zipped({"../rows.csv": as_csv(ROWS)}), "leads out of it"),
        ("a.zip", zipped({"data/../../rows.csv": as_csv(ROWS)}), "leads out of it"),
        ("a.zip", zipped({"/etc/rows.csv": as_csv(ROWS)}), "leads out of it"),
        ("a.zip", zipped({"..\\rows.csv": as_csv(ROWS)}), "leads out of it"),
        ("a.tar.gz", tarred({"../rows.csv": as_csv(ROWS)}), "leads out of it"),
        ("a.tar", with_link(Path()), "holds a link"),
        ("a.zip", with_zip_link(), "holds a link"),
        ("a.zip", zipped({"b.zip": zipped({"rows.csv": as_csv(ROWS)})}), "another archive: 'b.zip'"),
        ("a.zip", zipped({"rows.csv": b"text\n" + b"a" * (80 << 20)}), "more than 64.0 MB"),
        ("a.tgz", tarred({"rows.csv": b"text\n" + b"a" * (80 << 20)}), "more than 64.0 MB"),
        ("a.tgz", tarred({"x.bin": b"a" * (200 << 20)}), "more than"),
        ("a.zip", encrypted(), "encrypted"),
        ("a.zip", zipped({"a.png": b"", "b.png": b""}), "no data file, only: a.png, b.png"),
        ("a.zip", zipped({"rows.csv": as_csv(ROWS)})[:-30], "the archive is damaged"),
        ("a.tar.gz", tarred({"rows.csv": as_csv(ROWS)})[:-30], "is damaged"),
        ("a.tar", b"text,label\n", "the archive is damaged"),
        ("a.zip", zipped({"rows.csv": b"text,label\n", "more.csv": b""}), "a.zip/rows.csv: there are no rows"),
    ],
)
def test_an_archive_that_is_unsafe_or_none_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    assert message in told(tmp_path, name, content)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MOST_FILES", 3)
    files = {f"{at}.csv": as_csv(ROWS) for at in range(4)}
    for name, content in (("a.zip", zipped(files)), ("b.tar", tarred(files, "w:"))):
        assert "more than 3 files" in told(tmp_path, name, content)


def test_a_folder_with_its_own_archive_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(as_csv(ROWS))
    (tmp_path / "train.csv.zip").write_bytes(zipped({"train.csv": as_csv(ROWS)}))
    (tmp_path / "README_ru.txt").write_text("О данных\n")
    assert len(read_table(tmp_path).rows) == 12


@pytest.mark.parametrize(
    ("name", "content", "copies"),
    [
        ("all.zip", zipped(PARTS), ["data/test.jsonl", "data/train.csv.jsonl"]),
        ("rows.xlsx", xlsx({"S": xlsx_rows(CELLS)}), ["rows.xlsx.cleaned.csv"]),
    ],
    ids=["zip", "xlsx"],
)
def test_a_cleaned_copy_is_written_beside(name: str, content: bytes, copies: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = parse_data(resolve(None, {"data.path": str(path)}))
    fixed = fix_data(path, found.table, found.task, found.recipe.data.columns or {})
    assert sorted(str(copy) for copy in fixed.copies) == sorted(
        str(tmp_path / (copy if name != "all.zip" else f"all.zip.cleaned/{copy}")) for copy in copies
    )
    assert len(read_table(tmp_path / "all.zip.cleaned" if name == "all.zip" else fixed.copies[0]).rows) == len(
        found.examples
    )
