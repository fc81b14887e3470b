"""JSON in the layouts that people and pandas write it in, and what is said of what is not JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kamerton.core.errors import DataError
from kamerton.data.read import read_table
from kamerton.data.table import Table

ROWS = [{"text": f"ship {at} came late", "label": "ab"[at % 2]} for at in range(12)]
PARTS = {"ok": True, "result": {"page": 1, "items": ROWS}}
TURNS = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One."}]


def read(folder: Path, name: str, content: str) -> Table:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return read_table(path)


def values(table: Table) -> list[Mapping[str, object]]:
    return [row.values for row in table.rows]


def pretty(rows: Sequence[object], between: str = "\n") -> str:
    return between.join(json.dumps(row, indent=2, ensure_ascii=False) for row in rows)


LAYOUTS = {
    "pretty.jsonl": pretty(ROWS),
    "pretty.json": pretty(ROWS),
    "commas.jsonl": pretty(ROWS, ",\n"),
    "lines-with-commas.jsonl": "".join(json.dumps(row) + ",\n" for row in ROWS),
    "one-line.jsonl": "".join(map(json.dumps, ROWS)),
    "array.jsonl": json.dumps(ROWS, indent=4),
    "windows.jsonl": pretty(ROWS).replace("\n", "\r\n"),
    "index.json": json.dumps({str(at): row for at, row in enumerate(ROWS)}),
    "columns.json": json.dumps({key: {str(at): row[key] for at, row in enumerate(ROWS)} for key in ROWS[0]}),
    "split.json": json.dumps(
        {"columns": ["text", "label"], "index": [*range(12)], "data": [[*row.values()] for row in ROWS]}
    ),
    "nested.json": json.dumps(PARTS),
    "viewer.json": json.dumps({"features": [{"name": "text"}, {"name": "label"}], "rows": ROWS}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_the_same_rows_is_the_same_rows(tmp_path, name):
    table = read(tmp_path, name, LAYOUTS[name])
    assert values(table) == ROWS
    assert not table.rejected


def test_what_a_pandas_frame_writes_in_every_orient_with_names_is_read(tmp_path):
    keyed = {f"doc-{at}": row for at, row in enumerate(ROWS)}
    assert [row["key"] for row in values(read(tmp_path, "ids.json", json.dumps(keyed)))] == [*keyed]
    by_id = {key: {f"doc-{at}": row[key] for at, row in enumerate(ROWS)} for key in ROWS[0]}
    assert values(read(tmp_path, "names.json", json.dumps(by_id))) == ROWS
    schema = {"fields": [{"name": "index", "type": "integer"}], "primaryKey": ["index"]}
    indexed = [{"index": at, **row} for at, row in enumerate(ROWS)]
    assert values(read(tmp_path, "table.json", json.dumps({"schema": schema, "data": indexed}))) == indexed


@pytest.mark.parametrize("name", ["values.json", "values.jsonl"])
def test_rows_without_the_names_of_their_columns_are_refused_with_the_call_that_writes_them(tmp_path, name):
    rows = [[*row.values()] for row in ROWS]
    content = json.dumps(rows) if name.endswith("json") else "".join(json.dumps(row) + "\n" for row in rows)
    with pytest.raises(DataError, match=r'to_json\(orient="records", lines=True\)'):
        read(tmp_path, name, content)


def test_rows_over_several_lines_know_their_first_line_and_a_broken_one_costs_itself_alone(tmp_path):
    blocks = [json.dumps(row, indent=1) for row in ROWS]
    blocks[2] = blocks[2].replace('"a"\n', '"a",\n')
    table = read(tmp_path, "rows.jsonl", "\n".join(blocks))
    assert [row.place.line for row in table.rows[:3]] == [1, 5, 13]
    [entry] = table.rejected
    assert entry.place.line == 9
    assert str(entry.reason) == (
        "not JSON: a comma stands before the closing bracket at line 12 column 1: delete that comma"
    )


MISTAKES = {
    '[\n{"text": "a",},\n{"text": "b"}]': ("2 column 14", "a comma stands before the closing bracket", "delete that"),
    '[\n{"text": "a"},\n]\n': ("3 column 1", "a comma stands before the closing bracket", "delete that comma"),
    "[{'text': 'a'}]": ("1 column 3", "single quotes", "json.dumps(row"),
    '[{"text": "a", "n": None}]': ("1 column 21", "a word of Python", "json.dumps(row"),
    '[{"text": "a", "n": nan}]': ("1 column 21", "a word that JSON does not have", "null"),
    '[{"text": "a"}, // the second\n {"text": "b"}]': ("1 column 17", "a comment", "delete"),
    '{\n# data\n"a": [1]}': ("2 column 1", "a comment", "delete"),
    '[{text: "a"}]': ("1 column 3", "a key without quotes", '"key":'),
    "[{“text”: “a”}]": ("1 column 3", "curly quotes", 'write "'),
    '[{"text": "a"}\n{"text": "b"}]': ("2 column 1", "a comma is missing", "add it"),
    '[{"text": "a" "label": "b"}]': ("1 column 15", "a comma is missing", "add it"),
    '[{"text": "one\ntwo"}]': ("1 column 15", "a line ends within quotes", "\\n"),
    '[{"text": "C:\\data"}]': ("1 column 14", "a backslash that has no meaning", "twice"),
    '[{"text": "a"}, {"text": "b': ("1 column 26", "closing quote is missing", "add it"),
    '[{"text": "a"}, {"text"': ("1 column 24", "", "the file ends too early"),
}


@pytest.mark.parametrize("content", MISTAKES)
def test_what_is_not_json_is_told_with_its_place_and_its_own_remedy(tmp_path, content):
    place, rule, remedy = MISTAKES[content]
    with pytest.raises(DataError) as told:
        read(tmp_path, "rows.json", content)
    [fault] = told.value.faults
    assert str(fault.place).endswith(f"rows.json:{place}")
    assert rule in str(fault.rule)
    assert remedy in str(fault.remedy)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'text': 'a'}", "single quotes, where JSON has double ones at column 2: Python prints rows this way"),
        ('{"text": "a",}', "a comma stands before the closing bracket at column 14: delete that comma"),
        ('{"text": "a"} // once', "a comment; JSON has none at column 15"),
        ('{"n": Infinity}', "Infinity is not a number that JSON has"),
    ],
)
def test_a_line_that_is_not_json_is_rejected_with_its_remedy(tmp_path, line, reason):
    table = read(tmp_path, "rows.jsonl", f"{json.dumps(ROWS[0])}\n{line}\n{json.dumps(ROWS[1])}\n")
    [entry] = table.rejected
    assert (entry.place.line, reason in str(entry.reason)) == (2, True)


def test_lists_of_messages_and_texts_with_annotations_are_rows(tmp_path):
    for name, content in (
        ("lines.jsonl", f"{json.dumps(TURNS)}\n" * 3),
        ("array.json", json.dumps([TURNS] * 3)),
        ("pretty.jsonl", pretty([TURNS] * 3)),
    ):
        assert values(read(tmp_path, name, content)) == [{"messages": TURNS}] * 3
    one = read(tmp_path, "one.json", json.dumps(TURNS))
    whole = read(tmp_path, "whole.json", json.dumps({"id": 7, "messages": TURNS}))
    named = read(tmp_path, "named.json", json.dumps({"first": TURNS, "second": TURNS}))
    assert values(one) == [{"messages": TURNS}]
    assert values(whole) == [{"id": 7, "messages": TURNS}]
    assert values(named) == [{"key": "first", "messages": TURNS}, {"key": "second", "messages": TURNS}]
    cats = ["Ada sings.", {"cats": {"good": 1.0, "bad": 0.0}}]
    table = read(tmp_path, "cats.jsonl", f"{json.dumps(cats)}\n" * 3)
    assert values(table)[0] == {"text": "Ada sings.", "label": "good"}
