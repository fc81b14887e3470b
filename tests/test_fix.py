"""The cleaned copy and its ledger; the page."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import html5lib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kamerton.audits.exact_duplicates import ExactDuplicates
from kamerton.cli.work.audit import run
from kamerton.contracts import AuditContext
from kamerton.data.audit import run_audit
from kamerton.data.fix import Fixed, fix_data
from kamerton.data.read import read_table
from kamerton.records import Example, Place
from kamerton.report.audit import AuditPage, class_bars, length_bars, shown, write_audit_page
from kamerton.tasks.text_classification import TextClassification

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
    ('Tom & Jerry "снова" вместе', "good &amp; fine"),
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
def test_a_cleaned_copy_has_the_same_format_and_columns_and_no_label_is_touched(name: str, tmp_path: Path) -> None:
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
    assert [bar.rows for bar in page.lengths] == [80] and page.tone == "do-not-ship"


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
