"""The cleaned copy and its ledger; the page."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import html5lib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kamerton.cli.actions.audit import run
from kamerton.core import registry
from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Place
from kamerton.data.audit import run_audit
from kamerton.data.fix import Fixed, fix_data
from kamerton.data.mend import SPELLING
from kamerton.data.read import read_table
from kamerton.plugins.audits.exact_duplicates import ExactDuplicates
from kamerton.plugins.tasks.text_classification import TextClassification
from kamerton.plugins.tasks.token_classification import TokenClassification
from kamerton.report.audit import AuditPage, class_bars, length_bars, shown, write_audit_page
from killing import dies_at

ROWS = [
    ("Хороший фильм, смотрел дважды", "good"),
    ("Скучный фильм; ушёл с середины", "bad"),
    ("хороший  фильм, смотрел дважды ", "good"),
    ("", "bad"),
    ("Õîðîøèé ôèëüì, ñîâåòóþ", "good"),
    ("Tom &amp; Jerry &quot;снова&quot;\u00a0вместе", "good &amp; fine"),
    ('Quotes "inside", and\nlines', "bad"),
    ("Õîðîøèé ôèëüì, ñìîòðåë äâàæäû", "good"),
]
CLEAN = [
    ("Хороший фильм, смотрел дважды", "good"),
    ("Скучный фильм; ушёл с середины", "bad"),
    ("Хороший фильм, советую", "good"),
    ('Tom & Jerry "снова" вместе', "good & fine"),
    ('Quotes "inside", and\nlines', "bad"),
]
FATES = ["used", "used", "dropped", "dropped", "repaired", "repaired", "used", "dropped"]
ROLES = {"text": "text", "label": "label"}


def write_csv(path: Path, delimiter: str = ";") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["n", "text", "label"])
        writer.writerows((i, *row) for i, row in enumerate(ROWS))


def write_lines(path: Path) -> None:
    lines = "".join(json.dumps({"text": text, "label": label, "n": i}) + "\n" for i, (text, label) in enumerate(ROWS))
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())


def write_json(path: Path) -> None:
    path.write_text(json.dumps([{"n": i, "text": text, "label": label} for i, (text, label) in enumerate(ROWS)]))


def write_parquet(path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"n": pa.array(range(len(ROWS)), pa.int16()), "text": texts, "label": labels}), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "rows.csv": write_csv,
    "rows.tsv": lambda path: write_csv(path, "\t"),
    "rows.jsonl": write_lines,
    "rows.jsonl.gz": write_lines,
    "rows.json": write_json,
    "rows.parquet": write_parquet,
}


def fixed(path: Path) -> Fixed:
    return fix_data(path, read_table(path), TextClassification(), ROLES)


def ledger_of(done: Fixed) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.ledger.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", WRITERS)
def test_a_cleaned_copy_has_the_same_format_and_columns(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    done = fixed(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    [copy] = done.copies
    assert copy.parent == tmp_path and copy.name == name.replace("rows.", "rows.cleaned.", 1)
    table = read_table(copy)
    assert [(row.values["text"], row.values["label"]) for row in table.rows] == CLEAN
    assert set(table.columns) == {"n", "text", "label"} and not table.rejected
    assert [str(row.values["n"]) for row in table.rows] == ["0", "1", "4", "5", "6"]
    assert (done.used, done.repaired, done.dropped) == (3, 2, 3)


def test_the_ledger_says_of_every_row_what_became_of_it_and_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path)
    with path.open("a", encoding="utf-8") as file:
        file.write("8;one cell too many;good;!\n")
    entries = ledger_of(fixed(path))
    assert [entry["fate"] for entry in entries] == [*FATES, "dropped"]
    assert [entry["id"] for entry in entries] == list(range(9))
    assert [entry["line"] for entry in entries] == [2, 3, 4, 5, 6, 7, 8, 10, 11]
    reasons = [str(entry["reason"]) for entry in entries]
    assert reasons[2] == reasons[7] == "exact duplicates" and reasons[4] == "cp1251 read as cp1252"
    assert "HTML entities" in reasons[5] and "cells" in reasons[8]


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path)
    first, second = fixed(path), fixed(path)
    assert first.copies != second.copies and first.ledger != second.ledger
    assert first.copies[0].read_bytes() == second.copies[0].read_bytes()


@pytest.mark.parametrize("many", [False, True])
def test_after_a_kill_at_any_file_operation_the_same_again_leaves_one_copy_and_its_ledger(
    many: bool, tmp_path: Path
) -> None:
    number, killed = 0, True
    while killed:
        place = tmp_path / str(number)
        data = place / "data" if many else place / "rows.jsonl"
        (place / "data").mkdir(parents=True)
        for name in ("data/one.jsonl", "data/other.jsonl", "rows.jsonl"):
            write_lines(place / name)
        table = read_table(data)
        killed = dies_at(number, lambda d=data, t=table: fix_data(d, t, TextClassification(), ROLES))
        copy = place / ("data.cleaned" if many else "rows.cleaned.jsonl")
        if not copy.exists():
            fixed(data)
        made = {path.name for path in place.iterdir()} - {"data", "rows.jsonl"}
        assert made == {copy.name, f"{copy.name}.ledger.jsonl"}
        assert read_table(copy).rows_read == len(CLEAN)
        number += 1
    assert number > 6


def test_a_folder_is_copied_to_a_folder_beside_it_which_is_not_read_with_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "more").mkdir(parents=True)
    write_lines(tmp_path / "data" / "rows.jsonl")
    write_lines(tmp_path / "data" / "more" / "rows.jsonl")
    done = fixed(tmp_path / "data")
    assert {copy.relative_to(tmp_path).as_posix() for copy in done.copies} <= {
        "data.cleaned/rows.jsonl",
        "data.cleaned/more/rows.jsonl",
    }
    assert done.used + done.repaired + done.dropped == 2 * len(ROWS) == read_table(tmp_path / "data").rows_read
    assert read_table(tmp_path / "data.cleaned").rows_read == len(CLEAN)


def test_a_cleaned_copy_has_nothing_left_to_clean(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv")
    again = fixed(fixed(tmp_path / "rows.csv").copies[0])
    assert (again.repaired, again.dropped) == (0, 0)


# ── the page ──────────────────────────────────────────────────────────────────────────────────

EVIL = "<script>alert('x')</script> {{ 7*7 }} ann@example.org \x1b[31m"


def page_of(examples: list[Example], name: str = "rows.csv") -> AuditPage:
    findings = run_audit(examples, AuditContext(stratified=True, lengths=None, max_tokens=None))
    return AuditPage(
        name=name, task="text-classification", reason="it looks so", model="", rows=len(examples) + 1,
        examples=len(examples), unread=(), unread_rows=0, findings=shown(findings, examples),
        classes=class_bars(examples), more_classes=0, lengths=length_bars(examples), command="kamerton audit",
        mended=None,
    )  # fmt: skip


def test_the_page_offers_a_cleaned_copy_only_where_it_would_differ(tmp_path: Path) -> None:
    page = page_of([Example(i, Place("rows.csv", i + 2), f"text {i}", "a") for i in range(4)])
    for command in ("kamerton audit rows.csv --fix", ""):
        write_audit_page(tmp_path / "page.html", dataclasses.replace(page, command=command))
        html = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("Mending" in html, 'href="#mend"' in html) == (bool(command), bool(command))


def test_the_page_is_valid_html_without_scripts_or_network_and_with_nothing_private(tmp_path: Path) -> None:
    examples = [Example(i, Place("rows.csv", i + 2), f"{EVIL} {i}", EVIL if i % 2 else "b") for i in range(40)]
    write_audit_page(tmp_path / "page.html", page_of([*examples, examples[0]], EVIL))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    assert "<script" not in html and "http:" not in html and "https:" not in html
    assert "{{ 7*7 }}" in html and "\x1b" not in html
    assert "ann@example.org" not in html.partition('id="findings"')[2], "findings are masked"


def test_every_finding_stands_on_the_page_with_its_rows() -> None:
    examples = [Example(i, Place("rows.csv", i + 2), "same text", "a") for i in range(80)]
    page = page_of(examples)
    [repeats] = [one for one in page.findings if one.finding.drop]
    assert repeats.finding == ExactDuplicates().check(examples, AuditContext(True, None, None))
    assert repeats.places[0] == "rows.csv:3" and len(repeats.places) == 60 and repeats.share == 79 / 80
    assert [rows for _, rows in page.lengths] == [80] and page.tone == "do-not-ship"


def test_the_command_prints_writes_and_tells_machines_the_unreadable_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path)
    with path.open("a", encoding="utf-8") as file:
        file.write("8;one cell too many;good;!\n")
    run(path, {}, fix=True, out=tmp_path / "page.html", json=True, language="en")
    told = json.loads(capsys.readouterr().out)
    assert [row["place"] for row in told["unusable"]] == [f"{path}:11"] and "cells" in told["unusable"][0]["reason"]
    assert told["fixed"]["dropped"] == 4 and Path(told["fixed"]["ledger"]).exists()
    assert {"check", "severity", "rows"} <= told["findings"][0].keys()
    run(path, {}, fix=False, out=None, json=False, language="en")
    said = capsys.readouterr().out
    assert "--fix" in said and "severe" in said and f"{path}:11" in said


# ── nothing is lost, and what is not damaged stays as it is ───────────────────────────────────


def as_read(text: str, truly: str = "utf-8", read: str = "cp1251") -> str:
    """Read the bytes of a text in a wrong encoding."""
    return text.encode(truly).decode(read, "replace")


def records(count: int = 40) -> list[dict[str, object]]:
    """Give rows with every kind of cell; each third is damaged in all of its texts."""
    rows: list[dict[str, object]] = []
    for n in range(count):
        text, label, note = f"Чайник номер {n} и лампа", ("плохо", "да")[n % 2], f"заметка {n} о товаре"
        damaged = n % 3 == 0
        rows.append({
            "id": f"a&amp;{n} ",
            "text": as_read(text) if damaged else f" {text}\u00a0" if n % 7 == 1 else text,
            "label": as_read(label) if damaged else label,
            "note": as_read(note) if damaged else note,
            "count": n,
            "share": n / 7,
            "empty": None,
        })  # fmt: skip
    return rows


def write_records(path: Path, rows: list[dict[str, object]]) -> None:
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "rows.parquet"])
def test_every_text_and_label_is_put_right_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    write_records(tmp_path / name, records())
    done = fixed(tmp_path / name)
    before, after = read_table(tmp_path / name), read_table(done.copies[0])
    assert after.columns == before.columns and after.rows_read == before.rows_read == 40 and not after.rejected
    for n, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)):
        assert new.values["text"] == f"Чайник номер {n} и лампа" and new.values["label"] == ("плохо", "да")[n % 2]
        assert new.values["note"] == f"заметка {n} о товаре"
        for column in ("id", "count", "share", "empty"):
            assert new.values[column] == old.values[column]
    if name.endswith(".parquet"):
        assert pq.read_schema(done.copies[0]).equals(pq.read_schema(tmp_path / name), check_metadata=True)
    again = fixed(done.copies[0])
    assert (again.repaired, again.dropped, again.used) == (0, 0, 40)


NESTED: list[tuple[str, dict[str, str], dict[str, object]]] = [
    ("chat", {"messages": "messages"},
     {"messages": [{"role": "user", "content": "Что это за товар?"}, {"role": "assistant", "content": "Это чайник"}]}),
    ("preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
     {"prompt": "Что это за товар?", "chosen": "Это чайник", "rejected": "Не знаю такого"}),
    ("token-classification", {"tokens": "tokens", "tags": "tags"},
     {"tokens": ["Анна", "живёт", "в", "Омске"], "tags": ["B-человек", "O", "O", "B-город"]}),
    ("text-classification", {"text": "question1", "second": "question2", "label": "label"},
     {"question1": "Где это?", "question2": "Когда это будет?", "label": "разные"}),
    ("multiple-choice", {"question": "question", "options": "opa+opb", "answer": "cop"},
     {"question": "Какой это город?", "opa": "Омск на реке", "opb": "Тула на Упе", "cop": "a"}),
]  # fmt: skip


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("task", "roles", "row"), NESTED, ids=[task for task, *_ in NESTED])
def test_texts_within_lists_and_objects_and_both_of_a_pair_are_put_right(
    task: str, roles: dict[str, str], row: dict[str, object], ending: str, tmp_path: Path
) -> None:
    def misread(value: object) -> object:
        if isinstance(value, str):
            return as_read(value)
        if isinstance(value, list):
            return [misread(one) for one in value]
        return {name: misread(one) for name, one in value.items()} if isinstance(value, dict) else value

    path = tmp_path / f"rows{ending}"
    wrong = misread(row)
    assert isinstance(wrong, dict)
    write_records(path, [wrong])
    done = fix_data(path, read_table(path), registry.choose("tasks", task)(), roles)
    [after] = read_table(done.copies[0]).rows
    assert after.values == row and done.repaired == 1


SPANS: list[tuple[str, list[object], str, list[object]]] = [
    ("Tom &amp; Ann Lee", [{"start": 10, "end": 17, "label": "PER", "text": "Ann Lee"}],
     "Tom & Ann Lee", [{"start": 6, "end": 13, "label": "PER", "text": "Ann Lee"}]),
    ("  Ann Lee\u200b sang in Oslo", [[2, 9, "PER"], [19, 23, "LOC"]],
     "Ann Lee sang in Oslo", [[0, 7, "PER"], [16, 20, "LOC"]]),
    ("Tom &amp; Ann", [{"offset": 10, "length": 3, "category": "PER"}],
     "Tom & Ann", [{"offset": 6, "length": 3, "category": "PER"}]),
    (as_read("В Омске живёт Анна"), [[len(as_read("В Омске живёт ")), len(as_read("В Омске живёт Анна")), "PER"]],
     "В Омске живёт Анна", [[14, 18, "PER"]]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "spans", "right", "moved"), SPANS)
@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_offsets_move_with_the_letters_that_they_count(
    ending: str, text: str, spans: list[object], right: str, moved: list[object], tmp_path: Path
) -> None:
    path = tmp_path / f"rows{ending}"
    write_records(path, [{"text": text, "spans": json.dumps(spans) if ending == ".csv" else spans}])
    done = fix_data(path, read_table(path), TokenClassification(), {"tokens": "text", "tags": "spans"})
    [row] = read_table(done.copies[0]).rows
    held = row.values["spans"]
    assert (row.values["text"], json.loads(str(held)) if ending == ".csv" else held) == (right, moved)


def test_a_text_whose_offsets_cannot_be_followed_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"text": "Tom &amp; Ann", "spans": [[6, 9, "SIGN"]]}
    write_records(path, [row])
    done = fix_data(path, read_table(path), TokenClassification(), {"tokens": "text", "tags": "spans"})
    assert [one.values for one in read_table(done.copies[0]).rows] == [row]


def test_a_second_cleaning_says_that_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "rows.csv", records())
    copy = fixed(tmp_path / "rows.csv").copies[0]
    run(copy, {}, fix=True, out=None, json=False, language="en")
    assert "nothing is left to mend" in capsys.readouterr().out
    run(copy, {}, fix=True, out=None, json=False, language="ru")
    assert "исправлять больше нечего" in capsys.readouterr().out


SPELLED: list[tuple[str, list[object], list[object]]] = [
    ("text-classification", ["good", "good", "Good", " good", "bad", "bad ", "BAD", "bad"],
     ["good", "good", "good", "good", "bad", "bad", "bad", "bad"]),
    ("text-classification", ["да", "да", "Да", "нет", "нет", "Нет", "нет ", "да"],
     ["да", "да", "да", "нет", "нет", "нет", "нет", "да"]),
    ("multi-label", [["war"], ["War", "love"], ["love"], ["war"], ["LOVE"], ["love"], ["war", "love"], []],
     [["war"], ["war", "love"], ["love"], ["war"], ["love"], ["love"], ["war", "love"], []]),
    ("multi-label", ["war; love", "War; love", "war", "love", "war", "love; war", "love", "Love"],
     ["war; love", "war; love", "war", "love", "war", "love; war", "love", "love"]),
]  # fmt: skip


@pytest.mark.parametrize(("task", "labels", "right"), SPELLED)
def test_labels_of_several_spellings_get_their_commonest(
    task: str, labels: list[object], right: list[object], tmp_path: Path
) -> None:
    path, role = tmp_path / "rows.jsonl", {"multi-label": "labels"}.get(task, "label")
    write_records(path, [{"text": f"a text {n}", "label": label} for n, label in enumerate(labels)])
    done = fix_data(path, read_table(path), registry.choose("tasks", task)(), {"text": "text", role: "label"})
    assert [row.values["label"] for row in read_table(done.copies[0]).rows] == right
    assert done.repairs[SPELLING] > 0


SHEET = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.'
    'sheet.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    'Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="rows" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/sheet1.xml"/></Relationships>',
}
"""The parts of a workbook beside its one sheet."""


def write_sheet(path: Path, rows: list[list[str]]) -> None:
    def cell(at: int, number: int, text: str) -> str:
        return f'<c r="{"ABC"[at]}{number}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'

    lines = [
        f'<row r="{n}">{"".join(cell(at, n, text) for at, text in enumerate(row))}</row>'
        for n, row in enumerate(rows, 1)
    ]
    sheet = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    with zipfile.ZipFile(path, "w") as book:
        for name, text in {
            **SHEET,
            "xl/worksheets/sheet1.xml": f"{sheet}{''.join(lines)}</sheetData></worksheet>",
        }.items():
            book.writestr(name, text)


def test_all_files_of_an_archive_are_copied_and_a_sheet_is_written_as_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for part in ("train", "test"):
            lines = "".join(f"{part} text number {n},{'ab'[n % 2]}\n" for n in range(30))
            archive.writestr(f"{part}.csv", f"text,label\n{lines}")
    run(tmp_path / "both.zip", {}, fix=True, out=None, json=False, language="en")
    assert "written as .jsonl" in capsys.readouterr().out
    copied = read_table(tmp_path / "both.zip.cleaned")
    assert {str(row.values["text"]).split()[0] for row in copied.rows} == {"train", "test"} and copied.rows_read == 60
    write_sheet(tmp_path / "rows.xlsx", [["text", "label"], *([f" text {n}", "ab"[n % 2]] for n in range(30))])
    run(tmp_path / "rows.xlsx", {}, fix=True, out=None, json=False, language="en")
    assert "written as .csv" in capsys.readouterr().out
    copied = read_table(tmp_path / "rows.xlsx.cleaned.csv")
    assert [row.values["text"] for row in copied.rows] == [f"text {n}" for n in range(30)]


@pytest.mark.parametrize(
    ("encodings", "note"),
    [(("cp1251",), "cp1251"), (("utf-8", "cp1251"), "utf-8, cp1251"), (("utf-8",), None)],
)
def test_a_copy_that_is_encoded_anew_says_so(encodings: tuple[str, ...], note: str | None, tmp_path: Path) -> None:
    rows = [f"Чайник номер {n} и большая лампа,{'плохо' if n % 2 else 'хорошо'}\n" for n in range(40)]
    lines = [row.encode(encodings[n % len(encodings)]) for n, row in enumerate(rows)]
    (tmp_path / "rows.csv").write_bytes(b"".join([b"text,label\n", *lines]))
    fixed = fix_data(tmp_path / "rows.csv", read_table(tmp_path / "rows.csv"), TextClassification(), ROLES)
    assert [str(one) for one in fixed.notes] == ([f"written in UTF-8; the source is in {note}"] if note else [])
    assert fixed.copies[0].read_text("utf-8") == "".join(["text,label\n", *rows])
