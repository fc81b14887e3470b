"""Tables that may be several things: what is recognized without a question, and what the question offers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from kamerton.core import registry
from kamerton.core.errors import DataError, Fault
from kamerton.core.records import Place
from kamerton.data.read import read_table
from kamerton.data.recognize import make_examples, recognize
from kamerton.data.table import Table

Rows = Sequence[Mapping[str, object]]


def table(folder: Path, rows: Rows) -> Table:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return read_table(folder / "rows.jsonl")


def faults(found: Table, task: str | None = None) -> list[Fault]:
    with pytest.raises(DataError) as caught:
        recognize(found, task, {})
    return list(caught.value.faults)


def text(number: int) -> str:
    return f"The report of day {number} says that the river rose by {number * 7 % 31} inches near the old mill."


ANSWERS: list[tuple[object, ...]] = [(True, False), ("yes", "no"), ("yes", "no", "maybe"), (0, 1)]


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("passage", ["passage", "context"])
def test_yes_or_no_about_a_passage_is_a_label_of_a_pair(tmp_path, answers, passage):
    rows = [
        {"question": f"did the river rise on day {n}", "answer": answer, passage: text(n)}
        for n, answer in zip(range(40), cycle(answers), strict=False)
    ]
    found = recognize(table(tmp_path, rows), None, {})
    assert (found.task, found.columns) == (
        "text-classification", {"text": "question", "second": passage, "label": "answer"}
    )  # fmt: skip


def test_answers_of_many_words_about_a_passage_are_no_labels(tmp_path):
    rows = [{"question": f"what of day {n}?", "answer": f"by {n} feet", "passage": text(n)} for n in range(40)]
    assert faults(table(tmp_path, rows))


@pytest.mark.parametrize("letters", ["ABCD", "1234"])
def test_options_in_a_file_without_a_header_are_offered_with_all_columns(tmp_path, letters):
    options = ["a heron", "a carp", "an oak", "a mill"]
    lines = [f"Which one of day {n}?,{','.join(options)},{letters[n % 4]}" for n in range(24)]
    (tmp_path / "raw.csv").write_text("\n".join(lines))
    _, first, *rest = faults(read_table(tmp_path / "raw.csv"))
    assert "options=column 2+column 3+column 4+column 5,answer=column 6" in str(first.remedy)
    assert all("--task" not in str(fault.remedy) for fault in rest)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "an image"),
        ({"type": "image", "source": {"data": "aGk="}}, "an image"),
        ({"type": "input_audio", "input_audio": {"data": "aGk="}}, "a sound"),
    ],
)
def test_a_chat_about_pictures_is_named_as_that_and_the_remedy_is_not_what_was_tried(tmp_path, part, named):
    asked = [{"type": "text", "text": "What is this?"}, part]
    rows = [{"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "A mill."}]}] * 9
    [fault] = faults(table(tmp_path, rows))
    assert named in str(fault.rule) and "--task chat" not in str(fault.remedy)


@pytest.mark.parametrize(("better", "worse"), [("pos_answer", "neg_answer"), ("chosen", "rejected")])
@pytest.mark.parametrize("key", ["answer", "text", "content"])
@pytest.mark.parametrize("task", [None, "preference"])
def test_answers_in_objects_are_a_preference(tmp_path, better, worse, key, task):
    rows = [
        {"id": f"c{n}", "question": text(n), better: {key: f"by {n} inches", "score": 1.0}, worse: {key: "no idea"}}
        for n in range(9)
    ]
    found = recognize(table(tmp_path, rows), task, {})
    columns = {"prompt": "question", "rejected": f"{worse}.{key}", "chosen": f"{better}.{key}"}
    assert (found.task, found.columns) == ("preference", columns)


def test_which_answer_is_better_is_not_guessed_from_values(tmp_path):
    rows = [{"id": f"c{n}", "asked": text(n), "one": f"by {n} inches", "two": "no idea"} for n in range(9)]
    assert "chosen=COLUMN" in str(faults(table(tmp_path, rows), "preference")[-1].remedy)


def test_labels_that_pandas_wrote_as_floats_are_whole_numbers(tmp_path):
    labels = cycle(["0.0", "1.0", "1", "0", "nan", ""])
    (tmp_path / "f.csv").write_text("text,label\n" + "".join(f"{text(n)},{next(labels)}\n" for n in range(60)))
    found = read_table(tmp_path / "f.csv")
    known = recognize(found, None, {})
    made = make_examples(found, known, registry.choose("tasks", known.task)())
    assert {example.gold for example in made.examples} == {"0", "1", ""}
    assert "2 different labels; labels such as 1.0 are read as 1" in str(known.reason)


@pytest.mark.parametrize("labels", [("1.0", "2.0"), ("1", "1.0", "beta"), ("v1", "v1.0")])
def test_other_labels_stay_as_they_are_written(tmp_path, labels):
    rows = [{"text": text(n), "label": label} for n, label in zip(range(30), cycle(labels), strict=False)]
    found = table(tmp_path, rows)
    known = recognize(found, None, {})
    assert not known.whole
    made = make_examples(found, known, registry.choose("tasks", known.task)())
    assert {example.gold for example in made.examples} == {*labels}


def test_a_question_names_all_columns_that_may_be_the_answer(tmp_path):
    rows = [
        {"reviewText": text(n), "rating": n % 5 + 1, "recommended": n % 2, "kind": "abc"[n % 3], "summary": f"day {n}"}
        for n in range(60)
    ]
    [fault] = faults(table(tmp_path, rows))
    assert "because 'label'" not in str(fault.rule)
    for flags in ("label=rating", "number=rating", "label=recommended", "label=kind", "summary=summary"):
        assert flags in str(fault.remedy)


def test_questions_without_an_answer_are_counted(tmp_path):
    rows = [{"context": text(n), "question": "How much?", "answers": ["river rose"][: n % 3]} for n in range(30)]
    assert str(recognize(table(tmp_path, rows), None, {}).reason).endswith("10 questions have no answer")


@pytest.mark.parametrize("name", ["one.json", "one.jsonl"])
def test_rows_on_one_line_are_told_apart_by_their_numbers(tmp_path, name):
    rows = [{"text": text(n), "label": "ab"[n % 2]} for n in range(8)]
    (tmp_path / name).write_text(json.dumps([*rows[:3], 7, *rows[3:]]))
    found = read_table(tmp_path / name)
    assert [str(row.place) for row in found.rows[2:4]] == [f"{tmp_path / name} item 3", f"{tmp_path / name} item 5"]
    assert str(found.rejected[0].place) == f"{tmp_path / name} item 4"


def test_rows_on_lines_of_their_own_keep_them(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": "a"}, {"text": "b"}], indent=1))
    assert [row.place for row in read_table(tmp_path / "a.json").rows] == [
        Place(str(tmp_path / "a.json"), 2), Place(str(tmp_path / "a.json"), 5)
    ]  # fmt: skip


def test_a_task_whose_last_role_is_absent_is_held_against_one_that_needs_more(tmp_path):
    rows = [{"prompt": text(n), "response": f"by {n} inches", "label": "yes" if n % 2 else "perhaps"} for n in range(9)]
    assert recognize(table(tmp_path, rows), "instruction", {}).task == "instruction"
    rows = [{"question": text(n), "passage": text(n), "answer": f"by {n} inches"} for n in range(9)]
    assert faults(table(tmp_path, rows))
