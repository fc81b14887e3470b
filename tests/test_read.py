import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broken_files import WRITERS
from kamerton.core.errors import DataError
from kamerton.data.encoding import Source, decode
from kamerton.data.read import read_table
from kamerton.data.read_csv import read_csv
from kamerton.data.read_json import read_jsonl
from kamerton.data.table import Table
from kamerton.data.unpack import held

ROWS = [
    {"text": "Тёплый и смешной фильм", "label": "хорошо"},
    {"text": 'строка\nи ещё "строка", с запятой', "label": "плохо"},
    {"text": "café — naïve", "label": "хорошо"},
]
RUSSIAN = (
    "text,label\n"
    "Верните мне эти два часа жизни,плохо\n"
    "Тёплый и смешной фильм — рекомендую «всем»,хорошо\n"
    "МОСКВА СЛЕЗАМ НЕ ВЕРИТ,хорошо\n"
)


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(table: Table) -> list[dict[str, object]]:
    return [dict(row.values) for row in table.rows]


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    for fault in caught.value.faults:
        assert fault.rule and fault.remedy and str(path) in str(fault.place)
    return str(caught.value)


# ── formats ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_back_the_rows_written(tmp_path: Path, suffix: str) -> None:
    table = read_table(write(tmp_path, f"rows{suffix}", WRITERS[suffix](ROWS)))
    assert values(table) == ROWS
    assert table.columns == ("text", "label")
    assert [row.id for row in table.rows] == [0, 1, 2]
    assert (table.format, table.rejected, tuple(map(str, table.notes))) == (suffix[1:], (), ())


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".parquet"])
def test_a_gzipped_text_file_reads_like_the_plain_one(tmp_path: Path, suffix: str) -> None:
    packed = gzip.compress(WRITERS[suffix](ROWS))
    assert values(read_table(write(tmp_path, f"my.rows{suffix.upper()}.gz", packed))) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_csv_file_is_found(tmp_path: Path, delimiter: str) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    assert values(read_table(write(tmp_path, "rows.csv", file.getvalue()))) == ROWS


def test_csv_cells_stay_text_and_empty_ones_stay_empty(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "rows.csv", "text,label\n007,\nNA,1e3\n"))
    assert values(table) == [{"text": "007", "label": ""}, {"text": "NA", "label": "1e3"}]


def test_a_column_without_a_name_as_pandas_writes_it_is_named_by_its_place(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "rows.csv", ",text,label\n0,a,b\n"))
    assert table.columns == ("column 1", "text", "label")
    assert "column 1" in str(table.notes[0])


def test_quotes_that_quote_nothing_in_tsv_are_characters(tmp_path: Path) -> None:
    content = 'text\tlabel\n"Great\tgood\n12" pizza\tgood\n"a" b\tbad\n'
    table = read_table(write(tmp_path, "rows.tsv", content))
    assert [row.values["text"] for row in table.rows] == ['"Great', '12" pizza', '"a" b']
    assert [str(note) for note in table.notes] == ["quotes are read as characters"]


def test_json_lines_in_a_json_file_and_an_array_in_a_jsonl_file_are_read(tmp_path: Path) -> None:
    lines = read_table(write(tmp_path, "lines.json", WRITERS[".jsonl"](ROWS)))
    array = read_table(write(tmp_path, "array.jsonl", WRITERS[".json"](ROWS)))
    assert values(lines) == values(array) == ROWS
    assert (lines.format, array.format) == ("jsonl", "json")


def test_an_object_with_one_array_of_objects_is_read(tmp_path: Path) -> None:
    document = {"version": 1, "labels": ["a", "b"], "data": ROWS}
    table = read_table(write(tmp_path, "rows.json", json.dumps(document)))
    assert values(table) == ROWS
    assert "'data'" in str(table.notes[0])


def test_an_object_of_columns_is_read(tmp_path: Path) -> None:
    columns = {key: [row[key] for row in ROWS] for key in ROWS[0]}
    table = read_table(write(tmp_path, "rows.json", json.dumps(columns, indent=1)))
    assert values(table) == ROWS
    assert [row.place.line for row in table.rows] == [3, 4, 5]


def test_parquet_values_become_what_json_knows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    day = pa.array([0, None], pa.date32())
    nested = pa.array([{"a": [1, 2]}, {"a": []}])
    pq.write_table(pa.table({"day": day, "raw": ["я".encode(), b"b"], "nested": nested, "n": [1, 2]}), path)
    table = read_table(path)
    assert values(table) == [
        {"day": "1970-01-01", "raw": "я", "nested": {"a": [1, 2]}, "n": 1},
        {"day": None, "raw": "b", "nested": {"a": []}, "n": 2},
    ]
    assert [str(row.place) for row in table.rows] == [f"{path}:1", f"{path}:2"]


def test_a_parquet_row_with_bytes_that_are_no_text_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [b"a", b"\xff", b"c"]}), path)
    table = read_table(path)
    assert [(entry.id, entry.place.line) for entry in table.rejected] == [(1, 2)]


# ── encodings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1251", "koi8-r", "cp866"]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_russian_text_is_read_in_every_usual_encoding(tmp_path: Path, encoding: str, suffix: str) -> None:
    rows = list(csv.DictReader(io.StringIO(RUSSIAN)))
    if encoding in ("koi8-r", "cp866"):
        rows = [{key: cell.translate(str.maketrans("—«»", "-''")) for key, cell in row.items()} for row in rows]
    raw = WRITERS[suffix](rows).decode().encode(encoding)
    table = read_table(write(tmp_path, f"rows{suffix}", raw))
    assert values(table) == rows
    assert table.encoding.replace("-sig", "") in encoding.replace("-sig", "")
    assert ("" if encoding.startswith("utf-8") else f"read as {table.encoding}") in "".join(map(str, table.notes))
    assert bool(table.notes) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["Das Mädchen fährt über die Brücke", "Où est passé le garçon naïf ?"])
def test_western_text_is_not_taken_for_russian(tmp_path: Path, encoding: str, text: str) -> None:
    table = read_table(write(tmp_path, "rows.csv", f"text,label\n{text},x\n".encode(encoding)))
    assert table.rows[0].values["text"] == text
    assert "cp1252" in str(table.notes[0])


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866"])
@pytest.mark.parametrize(
    "line", ["плохой фильм", "МОСКВА СЛЕЗАМ НЕ ВЕРИТ", "Ничего нового не увидел", "да нет наверное"]
)
def test_one_short_russian_line_is_enough_to_tell_the_encoding(encoding: str, line: str) -> None:
    assert decode(held("rows.csv", line.encode(encoding))).text() == line


def test_one_damaged_byte_in_utf8_costs_one_row_and_no_other(tmp_path: Path) -> None:
    raw = RUSSIAN.encode().replace("два".encode(), b"\xff")
    table = read_table(write(tmp_path, "rows.csv", raw))
    [entry] = table.rejected
    assert (entry.id, entry.place.line) == (0, 2)
    assert "0xff" in str(entry.reason) and len(table.rows) == 2
    assert table.encoding == "utf-8" and "1 byte is not UTF-8; its row cannot be used" in str(table.notes[0])


# ── places ────────────────────────────────────────────────────────────────────────────────────


def test_line_numbers_count_line_breaks_inside_quotes(tmp_path: Path) -> None:
    content = 'text,label\r\n"one\r\ntwo\r\nthree",a\r\n\r\nfour,b\r\n"x\ny",c\nlast,d'
    table = read_table(write(tmp_path, "rows.csv", content))
    assert [row.place.line for row in table.rows] == [2, 6, 7, 9]
    assert table.rows[0].values["text"] == "one\r\ntwo\r\nthree"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts_once(tmp_path: Path, end: str) -> None:
    content = end.join(['{"a": "x\u2028y"}', "", '{"a": "\x7f\x85"}', "oops", '{"a": "z"}'])
    table = read_table(write(tmp_path, "rows.jsonl", content))
    assert [row.place.line for row in table.rows] == [1, 3, 5]
    assert [entry.place.line for entry in table.rejected] == [4]


def test_rows_of_a_json_array_know_their_lines(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "rows.json", '\n[\n {"a": "x\\ny"},\n\n {"a":\n "z"}, {"a": "w"}\n]\n'))
    assert [row.place.line for row in table.rows] == [3, 5, 6]


# ── rows rejected ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "not JSON: Expecting ',' delimiter at column 14"),
        ("[1, 2]", "not an object"),
        ('"text"', "not an object"),
        ("{}", "without values"),
        ('{"text": "a", "text": "b"}', "'text' occurs twice"),
        ('{"text": Infinity}', "Infinity is not a number"),
        ('{"text": "\\ud83d"}', "lone surrogate \\ud83d"),
        ('{"text": {"\\udc00": 1}}', "lone surrogate \\udc00"),
        ('{"text": "a\\u0000b"}', "NUL"),
        ('{"text": "a\0b"}', "not JSON: Invalid control character"),
        ('{"text": ' + "9" * 5000 + "}", "integer"),
        ('{"text": ' + "[" * 100_000, "nested too deeply"),
        ('{"text": ' + "[" * 100 + "]" * 100 + "}", "nested too deeply"),
    ],
)
def test_a_bad_line_of_json_lines_is_rejected_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    content = f'{{"text": "первый"}}\n{line}\n{{"text": "последний"}}\n'
    table = read_table(write(tmp_path, "rows.jsonl", content))
    [entry] = table.rejected
    assert reason in str(entry.reason)
    assert (entry.id, entry.place.line, entry.fate) == (1, 2, "dropped")
    assert [row.id for row in table.rows] == [0, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b,c", "has 3 cells, the header has 2"),
        ("a", "has 1 cell, the header has 2"),
        ("a\0,b", "NUL"),
        ('"a"b,c', "its quotes are malformed"),
        ('"a\n\nb",c,d', "(3 lines were read as one row"),
    ],
)
def test_a_bad_row_of_csv_is_rejected_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    table = read_table(write(tmp_path, "rows.csv", f"text,label\nx,y\n{line}\nlast,z\n"))
    [entry] = table.rejected
    assert reason in str(entry.reason)
    assert (entry.id, entry.place.line) == (1, 3)
    assert [row.id for row in table.rows] == [0, 2]


def test_a_quote_left_open_in_the_last_line_costs_that_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "rows.csv", 'text,label\na,b\n"cut sho'))
    assert len(table.rows) == 1 and "never closed" in str(table.rejected[0].reason)


def test_nan_in_json_is_an_empty_value(tmp_path: Path) -> None:
    assert values(read_table(write(tmp_path, "rows.jsonl", '{"text": NaN, "n": null}'))) == [{"text": None, "n": None}]


def test_a_bad_element_of_a_json_array_is_rejected_and_reading_goes_on(tmp_path: Path) -> None:
    content = '[{"a": 1},\n{"a": 1, "a": 2},\n"text",\n{"a": -Infinity}, {"a": 3},\n{"a": 4}, {"a": 5}]'
    table = read_table(write(tmp_path, "rows.json", content))
    assert [row.values["a"] for row in table.rows] == [1, 3, 4, 5]
    assert [(entry.id, entry.place.line) for entry in table.rejected] == [(1, 2), (2, 3), (3, 4)]


# ── files refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"", "is empty"),
        ("rows.csv", b" \n\r\n", "is empty"),
        ("rows.csv", b"text,label\n", "no rows"),
        ("rows.json", b"[]", "no rows"),
        ("rows.csv", b"text,label,text\na,b,c\n", "two columns are named 'text'"),
        ("rows.json", b'{"a": [1], "a": [2]}', "two columns are named 'a'"),
        ("rows.csv", b"," * 9 + b"\n" + b"," * 9, "is empty"),
        ("rows.csv", b"a,,,,\n1,2,3,4,5\n", "most cells are empty"),
        ("rows.csv", b"x" * 101 + b",good\n", "does not name the columns"),
        ("rows.csv", b'text,label\n"a,b\nc,d\ne,f\n', "never closed: it swallows 2 more lines"),
        ("rows.csv", bytes(range(256)) * 4, "binary"),
        ("rows.csv", b"PK\x03\x04" + bytes(90), "Excel"),
        ("rows.csv", gzip.compress(b"text,label\n", mtime=0), "this is gzip"),
        ("rows.csv", b"\xff\xfet", "not valid utf-16"),
        ("rows.json", b'[{"text": "a"}, {"text"', "rows.json:1 column 24"),
        ("rows.json", b'[{"text": "a"}\n\n {"text": "b"}]', "rows.json:3 column 2"),
        ("rows.json", b'[{"text": "a"}] ]', "rows.json:1 column 17"),
        ("rows.json", b"[" * 100_000, "nested too deeply"),
        ("rows.json", b'{"users": [{"a": 1}], "test": [{"a": 1}]}', "several arrays of rows: users, test"),
        ("rows.json", b'{"text": "a"}', "no array of objects"),
        ("rows.json", b'{"a": [1, 2], "b": [1]}', "different lengths: a 2, b 1"),
        ("rows.json", b"text,label\n", "rows.json:1 column 1"),
        ("rows.parquet", b"PAR1 not really", "Parquet file cannot be read"),
        ("rows.csv.gz", b"\x1f\x8b garbage", "gzip"),
        ("rows.csv.gz", gzip.compress(b"text,label\n" * 99, mtime=0)[:-9], "gzip"),
        ("rows.xlsx", b"PK", "not a whole workbook"),
        ("rows", b"text", "does not say the format"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_with_rule_place_and_remedy(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    assert message in fault_of(write(tmp_path, name, content))


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in fault_of(tmp_path / "none.csv")
    assert "folder" in fault_of(tmp_path)
    assert "cannot be accessed" in fault_of(tmp_path / ("x" * 300 + ".csv"))


def test_a_mostly_bad_file_is_refused_with_its_first_five_faults(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "text,label\n" + "good,row\n" * 6 + "bad\n" * 7)
    with pytest.raises(DataError) as caught:
        read_table(path)
    faults = caught.value.faults
    assert str(faults[0].rule) == "7 of 13 rows cannot be used"
    assert [str(fault.place) for fault in faults[1:]] == [f"{path}:{line}" for line in range(8, 13)]


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"]), path)
    assert "two columns are named 'x'" in fault_of(path)


# ── nothing is lost ───────────────────────────────────────────────────────────────────────────


def ids(table: Table) -> list[int]:
    return sorted([row.id for row in table.rows] + [entry.id for entry in table.rejected])


def read_text(reader: object, content: str) -> Table | None:
    assert callable(reader)
    try:
        table: Table = reader(decode(held("rows", content.encode("utf-8", "surrogatepass"))))
    except DataError as error:
        assert all(str(fault.rule) and str(fault.remedy) and "rows" in str(fault.place) for fault in error.faults)
        return None
    assert ids(table) == list(range(table.rows_read))
    return table


JSON_LINES = st.lists(
    st.one_of(
        st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=2).map(json.dumps),
        st.text(st.characters(exclude_characters="\r\n"), max_size=9),
    ),
    max_size=12,
)


@given(JSON_LINES)
@example(['{"a": "b"}', "{"])
def test_every_line_of_json_lines_that_is_not_blank_is_used_or_rejected(lines: list[str]) -> None:
    content = '{"a": 1}\n' * (len(lines) + 1) + "\n".join(lines)
    table = read_text(read_jsonl, content)
    if table is not None and table.encoding == "utf-8":
        assert table.rows_read == len(lines) + 1 + sum(bool(line.strip()) for line in lines)


CELLS = st.lists(st.text(st.characters(exclude_characters='\r\n,"\0;|\t', codec="utf-8"), max_size=5), max_size=4)


@given(st.lists(CELLS, max_size=12))
def test_every_record_of_csv_that_is_not_blank_is_used_or_rejected(records: list[list[str]]) -> None:
    content = "text,label\n" + "x,y\n" * (len(records) + 1) + "".join(",".join(cells) + "\n" for cells in records)
    table = read_text(read_csv, content)
    assert table is not None
    written = sum(len(cells) > 1 or bool("".join(cells).strip()) for cells in records)
    assert table.rows_read == len(records) + 1 + written
    more = [cells[2:] for cells in records if len(cells) > 1]  # surplus cells without anything are a spreadsheet's
    assert len(table.rows) == len(records) + 1 + sum(not "".join(cells).strip("\ufeff \t\r\n") for cells in more)


@given(st.text(max_size=60))
@example('text,label\n"a,b\n"c"d,e\n')
def test_any_text_as_csv_or_json_lines_gives_a_whole_table_or_a_data_error(content: str) -> None:
    for reader in (read_csv, read_jsonl):
        table = read_text(reader, content)
        assert table is None or len(table.rows) + len(table.rejected) == table.rows_read


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        source = decode(held("rows", raw))
    except DataError as error:
        assert all(str(fault.rule) and str(fault.place) and str(fault.remedy) for fault in error.faults)
    else:
        assert isinstance(source, Source)
        with source.open() as lines:
            assert "".join(lines) == source.text()
