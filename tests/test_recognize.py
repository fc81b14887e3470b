import json
from pathlib import Path

import pytest

from kamerton.core import registry
from kamerton.core.contracts import Task
from kamerton.core.errors import DataError, RecipeError
from kamerton.core.records import Example, Place
from kamerton.data.read import read_table
from kamerton.data.recognize import Made, Recognition, make_examples, recognize, sample_rows
from kamerton.data.table import Table

LABELS = ("good", "bad", "good", "bad")


def table_of(folder: Path, rows: list[dict[str, object]]) -> Table:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return read_table(path)


def filled(folder: Path, *columns: str) -> Table:
    """Make a table whose cells fit their columns' names: few labels, numbers for scores, else text."""
    few = {"label", "sense", "Label", "LABEL", "метка", "Рубрика", "pos", "category", "topic", "corpus"}
    numbers = {"score", "id"}
    return table_of(
        folder,
        [
            {c: LABELS[i] if c in few else i + 0.5 if c in numbers else f"{c} number {i}" for c in columns}
            for i in range(4)
        ],
    )


def refusal(table: Table, task: str | None = None, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        recognize(table, task, columns or {})
    for fault in caught.value.faults:
        assert str(fault.rule) and str(fault.remedy) and table.file in str(fault.place)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "task", "roles"),
    [
        (["text", "label"], "text-classification", {"text": "text", "label": "label"}),
        (["id", "text", "score", "label"], "text-classification", {"text": "text", "label": "label"}),
        (["text", "label", "package"], "text-classification", {"text": "text", "label": "label"}),
        (["word", "pos", "corpus", "text", "sense", "definition"], "text-classification",
         {"text": "text", "label": "sense"}),
        (["Review", "LABEL"], "text-classification", {"text": "Review", "label": "LABEL"}),
        (["Отзыв", "метка"], "text-classification", {"text": "Отзыв", "label": "метка"}),
        (["Текст", "Рубрика", "дата"], "text-classification", {"text": "Текст", "label": "Рубрика"}),
        (["title", "text", "label"], "text-classification", {"text": "text", "label": "label"}),
        (["instruction", "input", "output"], "instruction",
         {"instruction": "instruction", "input": "input", "output": "output"}),
        (["prompt", "completion"], "instruction", {"instruction": "prompt", "output": "completion"}),
        (["question", "answer"], "instruction", {"instruction": "question", "output": "answer"}),
        (["Вопрос", "Ответ"], "instruction", {"instruction": "Вопрос", "output": "Ответ"}),
        ([" Question_ ", "AN-SWER"], "instruction", {"instruction": " Question_ ", "output": "AN-SWER"}),
    ],
)  # fmt: skip
def test_usual_columns_are_recognized(tmp_path: Path, columns: list[str], task: str, roles: dict[str, str]) -> None:
    found = recognize(filled(tmp_path, *columns), None, {})
    assert (found.task, dict(found.columns)) == (task, roles)
    assert str(found.reason)


@pytest.mark.parametrize("word", registry.names("tasks"))
def test_every_task_is_recognized_by_name_in_its_own_example_rows_and_makes_examples(tmp_path: Path, word: str) -> None:
    rows = registry.choose("tasks", word)().example_rows()
    table = table_of(tmp_path, rows)
    found = recognize(table, word, {})
    made = make_examples(table, found, task_of(found))
    assert found.task == word
    assert [example.id for example in made.examples] == [row.id for row in table.rows]
    assert all(
        example.text and example.place == row.place for example, row in zip(made.examples, table.rows, strict=True)
    )


def test_what_the_user_names_holds_against_spellings(tmp_path: Path) -> None:
    found = recognize(filled(tmp_path, "text", "other", "label", "category"), None, {"text": "other"})
    assert dict(found.columns) == {"text": "other", "label": "label"}


def test_unusual_columns_are_used_when_they_are_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"a": f"sentence {i}", "b": LABELS[i]} for i in range(4)])
    assert "`--task text-classification --columns text=a,label=b`" in refusal(table)
    found = recognize(table, None, {"text": "a", "label": "b"})
    assert (found.task, dict(found.columns)) == ("text-classification", {"text": "a", "label": "b"})


def test_two_columns_are_not_guessed_even_where_the_task_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"a": f"sentence {i}", "b": LABELS[i]} for i in range(4)])
    message = refusal(table, "text-classification")
    assert "'a', 'b'" in message and "by their values: text=a, label=b" in message


def test_values_that_do_not_fit_are_refused_unless_the_task_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"text": f"sentence {i}", "label": f"label {i}"} for i in range(9)])
    assert "the values of text=text, label=label do not look like that" in refusal(table)
    assert str(recognize(table, "text-classification", {}).reason) == "as you said"
    found = recognize(table, "text-classification", {"text": "text", "label": "label"})
    assert str(found.reason) == "as you said"


def test_columns_that_hardly_look_like_a_task_are_not_read_as_a_smaller_one_in_silence(tmp_path: Path) -> None:
    rows = [{"text": f"a sentence of six words {i}", "label": f"label {i}"} for i in range(9)]
    assert "the values of text=text, label=label do not look like that" in refusal(table_of(tmp_path, rows))
    alone = table_of(tmp_path, [{"text": row["text"]} for row in rows])
    assert recognize(alone, None, {}).task == "language-modeling"


def test_data_that_fits_several_tasks_is_a_question_with_the_flags(tmp_path: Path) -> None:
    table = filled(tmp_path, "text", "label", "question", "answer")
    message = refusal(table)
    assert "fit several tasks" in message
    assert "`--task text-classification --columns text=text,label=label`" in message
    assert "`--task instruction --columns instruction=question,output=answer`" in message
    assert recognize(table, "instruction", {}).task == "instruction"


def test_a_role_that_several_columns_could_play_is_a_question(tmp_path: Path) -> None:
    table = filled(tmp_path, "title", "description", "label")
    message = refusal(table)
    assert "`--columns text=title` or `--columns text=description`" in message
    assert recognize(table, None, {"text": "title"}).columns["text"] == "title"


def test_all_wrong_names_are_told_at_once_with_the_nearest(tmp_path: Path) -> None:
    table = filled(tmp_path, "text", "label")
    message = refusal(table, None, {"txet": "text", "label": "lable", "text": "lable"})
    assert "there is no role 'txet'" in message and "did you mean 'text'?" in message
    assert "there is no column 'lable'" in message and "did you mean 'label'?" in message
    assert "cannot play two roles" in message


def test_unknown_columns_are_a_short_question_the_likeliest_reading_first(tmp_path: Path) -> None:
    table = table_of(tmp_path, [{"Wortlaut hier": f"a sentence {i}", "Art": LABELS[i % 4]} for i in range(40)])
    message = refusal(table)
    assert len(message.splitlines()) <= 8
    flags = [line for line in message.splitlines() if "--columns" in line and "COLUMN" not in line]
    assert flags[0].strip() == '→ `--task text-classification --columns "text=Wortlaut hier,label=Art"`'
    assert len(refusal(table_of(tmp_path, [{"a": i, "b": i * 2} for i in range(9)])).splitlines()) <= 8


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("sms.tsv", [f"{LABELS[i % 4]}\tcall me at number {i} now" for i in range(20)], "text=column 2,label=column 1"),
        ("ag.csv", [f"{1 + i % 4},Stocks fall for day {i},Shares went down again on day {i}" for i in range(20)],
         "text=column 3,label=column 1"),
    ],
)  # fmt: skip
def test_a_table_without_a_header_keeps_its_first_row_and_the_question_has_the_way_on(
    tmp_path: Path, name: str, rows: list[str], columns: str
) -> None:
    (tmp_path / name).write_text("\n".join(rows))
    table = read_table(tmp_path / name)
    assert len(table.rows) == 20
    with pytest.raises(DataError) as told:
        recognize(table, None, {})
    _, guessed, header = told.value.faults
    assert str(guessed.remedy) == f'`--task text-classification --columns "{columns}"`'
    assert "not a header" in str(header.rule) and "data.header=true" in str(header.remedy)
    named = dict(pair.split("=") for pair in columns.split(","))
    assert recognize(table, "text-classification", named).columns == named


def test_columns_that_play_no_role_are_said(tmp_path: Path) -> None:
    assert str(recognize(filled(tmp_path, "text", "label", "date", "url"), None, {}).reason).endswith(
        "; not used: date, url"
    )
    many = filled(tmp_path, "text", "label", *(f"c{i}" for i in range(9)))
    assert str(recognize(many, None, {}).reason).endswith("; not used: c0, c1, c2, c3, c4, c5 … (9 in all)")
    assert "not used" not in str(recognize(filled(tmp_path, "text", "label"), None, {}).reason)


def test_labels_beside_a_text_are_asked_about_and_not_read_as_plain_text(tmp_path: Path) -> None:
    rows = [
        {"title": f"News {i}", "text": f"a long text of many words {i}", "Ressort": ("sport", "art")[i % 2], "day": 1}
        for i in range(40)
    ]
    message = refusal(table_of(tmp_path, rows))
    assert "`--task text-classification --columns text=text,label=Ressort`" in message
    assert "`--task language-modeling --columns text=text`" in message
    table = table_of(tmp_path, [{**row, "Ressort": f"part {i}"} for i, row in enumerate(rows)])
    assert recognize(table, None, {}).task == "language-modeling"


BAD: list[tuple[str, dict[str, object], dict[str, object], str]] = [
    ("chat", {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]},
     {"messages": [{"role": "user", "content": "Hi"}, {"role": "narrator", "content": "He said"}]}, "narrator"),
    ("token-classification", {"tokens": ["a", "b"], "tags": ["O", "B-x"]}, {"tokens": ["a", "b"], "tags": ["O"]},
     "2 words but 1 tag"),
    ("regression", {"text": "a b", "score": 0.5}, {"text": "a b", "score": "four"}, "'four' is not a number"),
    ("multiple-choice", {"question": "q", "options": ["x", "y"], "answer": 0},
     {"question": "q", "options": ["x", "y"], "answer": 9}, "none of the 2 options"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "good", "bad", "why"), BAD, ids=[why for *_, why in BAD])
def test_a_bad_row_is_dropped_and_many_are_a_question_that_names_the_first(
    tmp_path: Path, task: str, good: dict[str, object], bad: dict[str, object], why: str
) -> None:
    few = table_of(tmp_path, [good] * 30 + [bad] + [good] * 9)
    found = recognize(few, None, {})
    made = make_examples(few, found, task_of(found))
    assert (found.task, len(made.examples)) == (task, 39)
    [entry] = made.rejected
    assert entry.place.line == 31 and why in str(entry.reason)
    many = table_of(tmp_path, ([good] * 2 + [bad]) * 10)
    message = refusal(many)
    assert "10 of 30 rows cannot be used with " in message and "rows.jsonl:3: " in message and why in message
    said = recognize(many, task, {})
    assert (str(said.reason), len(make_examples(many, said, task_of(said)).rejected)) == ("as you said", 10)


def test_one_row_of_very_few_is_not_passed_over(tmp_path: Path) -> None:
    *_, (_, good, bad, _) = BAD
    assert "1 of 3 rows cannot be used" in refusal(table_of(tmp_path, [good, good, bad]))


def test_a_role_of_another_task_excludes_those_without_it(tmp_path: Path) -> None:
    table = filled(tmp_path, "text", "label", "question", "answer")
    assert recognize(table, None, {"output": "answer"}).task == "instruction"


def test_an_unknown_task_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'text-classification'"):
        recognize(filled(tmp_path, "text", "label"), "text-clasification", {})


def test_dots_reach_into_nested_objects(tmp_path: Path) -> None:
    rows = [{"text": f"t {i}", "meta": {"stars": {"given": i % 2}}} for i in range(6)]
    table = table_of(tmp_path, [*rows, {"text": "without", "meta": None}])
    found = recognize(table, None, {"label": "meta.stars.given"})
    made = make_examples(table, found, task_of(found))
    assert [example.gold for example in made.examples] == ["0", "1", "0", "1", "0", "1", ""]
    assert "there is no column 'meta.sters'" in refusal(table, None, {"label": "meta.sters"})


def test_rows_that_a_task_cannot_use_are_rejected_and_mostly_such_rows_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(registry.ALLOWED, "strict_task:Strict")
    (tmp_path / "strict_task.py").write_text(
        "from kamerton.plugins.tasks.text_classification import TextClassification\n\n\n"
        "class Strict(TextClassification):\n"
        "    def example(self, id, place, values):\n"
        "        if not values['text'].isascii():\n"
        "            raise ValueError('not ASCII')\n"
        "        return super().example(id, place, values)\n"
    )
    rows = [{"text": text, "label": "x"} for text in ("a", "б", "c", "d")]
    table = table_of(tmp_path, rows)
    made = made_by_strict(table)
    assert [example.id for example in made.examples] == [0, 2, 3]
    assert [(entry.id, entry.place.line, str(entry.reason)) for entry in made.rejected] == [(1, 2, "not ASCII")]
    mostly = table_of(tmp_path, [*rows[1:2] * 3, rows[0]])
    with pytest.raises(DataError, match="3 of 4 rows cannot be used"):
        made_by_strict(mostly)


def task_of(found: Recognition) -> Task:
    return registry.choose("tasks", found.task)()


def made_by_strict(table: Table) -> Made:
    found = recognize(table, "strict_task:Strict", {})
    return make_examples(table, found, task_of(found))


def test_a_sample_is_part_of_a_larger_one_and_keeps_the_order() -> None:
    examples = [Example(i, Place("f", i + 1), f"text {i}", "x") for i in range(50)]
    ten, twenty = sample_rows(examples, 10, seed=1), sample_rows(examples, 20, seed=1)
    assert len(ten) == 10 and {e.id for e in ten} < {e.id for e in twenty}
    assert [e.id for e in twenty] == sorted(e.id for e in twenty)
    assert ten != sample_rows(examples, 10, seed=2)
    assert list(sample_rows(examples, None, seed=1)) == list(sample_rows(examples, 50, seed=1)) == examples
