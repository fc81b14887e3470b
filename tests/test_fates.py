"""How many rows went where and why: one line, in two languages, and the classes that are lost on the way."""

from __future__ import annotations

import json

import pytest

from kamerton.core.errors import DataError
from kamerton.core.messages import Message, Wording, msg
from kamerton.core.records import Example, Finding, LedgerEntry, Place, Split
from kamerton.data.fates import REASONS, found_by, lost_classes, require_classes, untested_classes, used_line
from kamerton.data.gate import overlong
from kamerton.i18n.voice import voice
from kamerton.runs.run import Run
from stories import DONE, QUICK


def entries(*reasons: Wording, fate: str = "dropped") -> list[LedgerEntry]:
    return [LedgerEntry(i, Place("rows.csv", i + 2), fate, reason) for i, reason in enumerate(reasons)]


def cells(count: int) -> Message:
    return msg("has {count} cells", count=count)


def test_reasons_are_counted_the_most_frequent_first_each_with_its_first_place():
    left_out = entries(cells(3), overlong(7), overlong(1))
    assert str(used_line(1200, left_out)) == (
        "1,197 of 1,200 rows are used; 2 rows left out (for example, too long by 7 tokens, first rows.csv:3); "
        "1 row left out (has 3 cells, first rows.csv:2)"
    )


def test_reasons_that_differ_in_a_name_stand_apart_where_they_are_few():
    left_out = entries(*(msg("'{label}' is a placeholder", label=label) for label in ("nan", "None", "nan")))
    assert str(used_line(9, left_out, before=2)) == (
        "4 of 9 rows are used; 2 rows left out earlier; 2 rows left out ('nan' is a placeholder, first rows.csv:2); "
        "1 row left out ('None' is a placeholder, first rows.csv:3)"
    )


def test_a_line_is_written_only_where_something_was_lost():
    assert used_line(7, []) == ""
    cut = entries(overlong(1), fate="cut")
    assert str(used_line(7, [], cut)) == "7 of 7 rows are used; 1 row cut to fit the model (first rows.csv:2)"


def test_many_reasons_are_summed():
    line = str(used_line(99, entries(*(f"reason {n}" for n in range(9)))))
    assert line.count("left out (") == REASONS
    assert "5 rows left out for other reasons" in line
    quoted = used_line(99, entries(*(msg("'{text}' is no number", text=chr(97 + n)) for n in range(9))))
    assert str(quoted) == "90 of 99 rows are used; 9 rows left out (for example, 'a' is no number, first rows.csv:2)"


def repeats(rows: int) -> Message:
    return found_by(Finding("exact-duplicates", "note", msg("{rows} rows repeat", rows=rows), ""))


def test_a_check_is_named_by_its_word():
    assert "2 rows left out (exact duplicates, first" in str(used_line(9, entries(repeats(1), repeats(2))))


def test_the_line_is_said_in_russian():
    left_out = entries(msg("holds a NUL character"), repeats(1), overlong(3))
    assert voice("ru").render(used_line(1000, left_out, entries(overlong(2), fate="cut"))) == (
        "использованы 997 из 1\u202f000 строк; 1 строка не взята (содержит знак NUL, первая — rows.csv:2); "
        "1 строка не взята (точные повторы, первая — rows.csv:3); "
        "1 строка не взята (длиннее на 3 токена, первая — rows.csv:4); "
        "1 строка обрезана под модель (первая — rows.csv:2)"
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
    left_out = [LedgerEntry(i, Place("rows.csv", i + 2), "dropped", overlong(3)) for i in gone]
    found = lost_classes(examples(golds), left_out, "class")
    assert (found is None) == (told is None)
    if found:
        assert found.severity == "severe" and told in str(found.title)
        assert "--set data.too_long=cut" in str(found.remedy)
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
    assert (str(found.title) if found else None) == (told and f"rows of some classes are left out: {told}")


def test_other_reasons_are_named_in_the_remedy_of_a_lost_class():
    found = lost_classes(examples(["a", "a", "b"]), entries(repeats(2), repeats(2)), "class")
    assert "this reason: exact duplicates" in str(found.remedy)


@pytest.mark.parametrize(
    ("answers", "golds", "named"),
    [
        ("class", ["bad"] * 3, "3 training rows are labeled 'bad'"),
        ("classes", [json.dumps(["a", "b"])] * 2, "2 training rows are labeled 'a', 'b'"),
        ("classes", [json.dumps(["a", "b"]), json.dumps(["a"])], None),
        ("class", ["bad", "good"], None),
        ("number", ["1", "1"], None),
        ("text", ["yes", "yes"], None),
    ],
)
def test_one_class_in_the_training_rows_is_refused_with_what_was_lost(answers, golds, named):
    split = Split(tuple(examples(golds)), (), ())
    lost = Finding("lost-classes", "severe", msg("classes lose rows"), msg("keep them"))
    if named is None:
        require_classes(split, answers, "rows.csv", lost)
        return
    with pytest.raises(DataError) as refused:
        require_classes(split, answers, "rows.csv", lost)
    first, second = refused.value.faults  # the cause stands first
    assert named in str(second.rule) and (str(first.rule), str(first.remedy)) == ("classes lose rows", "keep them")


def test_test_rows_of_one_class_are_severe():
    train = tuple(examples(["good", "bad"]))
    found = untested_classes(Split(train, (), tuple(examples(["good"] * 22))), "class")
    assert found.severity == "severe"
    assert str(found.title) == "all 22 test rows are 'good': nothing about other classes is tested"
    assert untested_classes(Split(train, (), train), "class") is None
    assert untested_classes(Split(train[:1], (), train[:1]), "class") is None


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
    read = "\n              1 row left out ("
    gated = "60 of 102 rows are used; 1 row left out earlier; 40 rows left out (for example, too long"
    lost = "severe: rows of some classes are left out: 'good' keeps 0 of 40"
    assert all(line in told.out for line in (read, "at column 30, first lost.jsonl:12)", gated, lost)), told.said
    assert any(finding.check == "lost-classes" for finding in Run(place.folder / "lost").read_findings())
    planned = place.call("plan", "lost.jsonl", *flags[:-2], "--language", "ru")
    assert (
        "использованы 60 из 102 строк; раньше не взята 1 строка; 40 строк не взято (например, длиннее на" in planned.err
    ), planned.said
    audited = place.call("audit", "lost.jsonl")
    assert "100 of 102 rows are used; 1 row left out (" in audited.out, audited.said
    assert "(exact duplicates, first lost.jsonl:102)" in audited.out, audited.said
