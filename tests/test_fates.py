"""How many rows went where and why: one line, in two languages, and the classes that are lost on the way."""

from __future__ import annotations

import json

import pytest

from kamerton.core.records import Example, LedgerEntry, Place
from kamerton.data.fates import REASONS, lost_classes, used_line
from kamerton.i18n.voice import voice
from kamerton.runs.run import Run
from stories import DONE, QUICK


def entries(*reasons: str, fate: str = "dropped") -> list[LedgerEntry]:
    return [LedgerEntry(i, Place("rows.csv", i + 2), fate, reason) for i, reason in enumerate(reasons)]


def test_reasons_are_counted_the_most_frequent_first_each_with_its_first_place():
    left_out = entries("has 3 cells", "too long: 7 tokens do not fit", "too long: 9 tokens do not fit")
    assert used_line(1200, left_out) == (
        "1,197 of 1,200 rows are used; 2 rows left out (too long: 7 tokens do not fit, first rows.csv:3); "
        "1 row left out (has 3 cells, first rows.csv:2)"
    )


def test_a_line_is_written_only_where_something_was_lost():
    assert used_line(7, []) == ""
    assert (
        used_line(7, [], entries("x", fate="cut"))
        == "7 of 7 rows are used; 1 row cut to fit the model (first rows.csv:2)"
    )


def test_many_reasons_are_summed():
    line = used_line(99, entries(*(f"{'ab'[n % 2]} is {chr(97 + n)}" for n in range(9))))
    assert line.count("left out (") == REASONS
    assert "5 rows left out for other reasons" in line
    quoted = used_line(99, entries(*(f"'{chr(97 + n)}' is no number" for n in range(9))))
    assert quoted == "90 of 99 rows are used; 9 rows left out ('a' is no number, first rows.csv:2)"


def test_a_check_is_named_by_its_word_and_a_reason_holds_no_mark_of_the_list():
    assert "(exact duplicates, first" in used_line(9, entries("exact-duplicates: 1 row repeats a text"))
    assert "(one, two, first" in used_line(9, entries("one; two"))


def test_the_line_is_said_in_russian():
    left_out = entries("holds a NUL character", "has 3 cells, the header has 2", "empty-fields: 1 row without a text")
    said = voice("ru").again(used_line(1000, left_out, entries("x", fate="cut")))
    assert said == (
        "использованы 997 из 1\u202f000 строк; 1 строка не взята (содержит знак NUL, первая rows.csv:2); "
        "1 строка не взята (ячейки: 3, а в заголовке 2, первая rows.csv:3); "
        "1 строка не взята (пустые поля, первая rows.csv:4); "
        "1 строка обрезана под модель (первая rows.csv:2)"
    )


def examples(golds: list[str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 2), f"text {i}", gold, {}) for i, gold in enumerate(golds)]


@pytest.mark.parametrize(
    ("golds", "gone", "told"),
    [
        (["good"] * 20 + ["bad"] * 20, range(19), "'good' keeps 1 of 20"),
        (["good"] * 20 + ["bad"] * 20, range(20), "'good' keeps 0 of 20"),
        (["good"] * 20 + ["bad"] * 20, range(17), None),
        (["good"] * 2 + ["bad"] * 20, range(2), "'good' keeps 0 of 2"),
        (["good"] * 5 + ["bad"] * 20, range(4), None),
        (["good"] * 20, [], None),
    ],
)
def test_a_class_that_nearly_vanishes_is_severe(golds, gone, told):
    left_out = [LedgerEntry(i, Place("rows.csv", i + 2), "dropped", "too long: 3 tokens do not fit") for i in gone]
    found = lost_classes(examples(golds), left_out, "class")
    assert (found is None) == (told is None)
    if found:
        assert (found.severity, told in found.title, "too long" in found.remedy) == ("severe", True, True)
        assert set(found.rows) == set(gone)


@pytest.mark.parametrize(
    ("answers", "gold", "told"),
    [
        ("classes", json.dumps(["тёплое"]), "'тёплое' keeps 0 of 3"),
        ("tags", json.dumps(["O", "B-city", "I-city"]), "'city' keeps 0 of 3"),
        ("text", "an answer", None),
    ],
)
def test_labels_of_lists_and_kinds_of_spans_are_classes_too(answers, gold, told):
    other = json.dumps(["other"])
    found = lost_classes(examples([gold] * 3 + [other] * 3), entries("x", "x", "x"), answers)
    assert (found.title if found else None) == (told and f"classes lose nearly all of their rows: {told}")


def test_tune_plan_and_audit_say_what_becomes_of_the_rows(place):
    rows = [{"text": f"good {'and fine ' * 40}{n}", "label": "good"} for n in range(40)]
    rows += [{"text": f"a bad film number {n}, dull", "label": "bad"} for n in range(30)]
    rows += [{"text": f"an odd film number {n}, strange", "label": "odd"} for n in range(30)]
    lines = [json.dumps(row) for row in rows]
    lines.insert(11, '{"text": "not JSON", "label" good}')
    (place.folder / "lost.jsonl").write_text("\n".join([*lines, lines[50]]), encoding="utf-8")
    model = ("--model", "encoder", "--set", "model.max_tokens=32", "--set", "data.too_long=drop")
    flags = (*model, "--method", "head", "--epochs", "1", "--set", "evaluate.forgetting=off", *QUICK)
    told = place.call("tune", "lost.jsonl", *flags, "--out", "lost")
    assert told.status == DONE, told.said
    read = "101 of 102 rows are used; 1 row left out ("
    gated = "60 of 101 rows are used; 40 rows left out (too long"
    lost = "severe: classes lose nearly all of their rows: 'good' keeps 0 of 40"
    assert all(line in told.out for line in (read, "at column 30, first lost.jsonl:12)", gated, lost)), told.said
    assert any(finding.check == "lost-classes" for finding in Run(place.folder / "lost").read_findings())
    planned = place.call("plan", "lost.jsonl", *flags[:-2], "--language", "ru")
    assert "использованы 60 из 101 строки; 40 строк не взято (слишком длинная" in planned.err, planned.said
    audited = place.call("audit", "lost.jsonl")
    assert "100 of 102 rows are used; 1 row left out (" in audited.out, audited.said
    assert "(exact duplicates, first lost.jsonl:102)" in audited.out, audited.said
