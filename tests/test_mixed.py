"""Rows of several shapes in one table are one task where they can be, and counted; nothing is dropped in silence."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kamerton.core.errors import DataError
from kamerton.pipeline.prepare import ParsedData, parse_data
from kamerton.runs.recipe import resolve


def parsed(path: Path, **settings: object) -> ParsedData:
    return parse_data(resolve(None, {"data.path": str(path), **settings}))


def write(folder: Path, name: str, rows: list[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


Make = Callable[[int], dict[str, Any]]
ALPACA: Make = lambda at: {"instruction": f"Count to {at}.", "input": "", "output": f"Aye, {at}."}  # noqa: E731
SHAREGPT: Make = lambda at: {  # noqa: E731
    "conversations": [{"from": "human", "value": f"Say {at}."}, {"from": "gpt", "value": f"No, {at}."}],
    "system": "Be short.",
}
PROMPTED: Make = lambda at: {"prompt": f"Repeat {at}.", "completion": f"So, {at}."}  # noqa: E731
ENGLISH: Make = lambda at: {"text": f"ship {at} came in late again", "label": "ab"[at % 2]}  # noqa: E731
RUSSIAN: Make = lambda at: {"отзыв": f"корабль {at} снова опоздал", "метка": "ab"[at % 2]}  # noqa: E731
COMPARED: Make = lambda at: {"prompt": f"Count {at}.", "chosen": f"Aye, {at}.", "rejected": "No."}  # noqa: E731


def rows_of(*shapes: Make, count: int = 20) -> list[dict[str, Any]]:
    return [shape(at) for at in range(count) for shape in shapes]


def test_requests_and_conversations_are_conversations_together(tmp_path):
    found = parsed(write(tmp_path, "rows.jsonl", rows_of(ALPACA, SHAREGPT)))
    assert found.recipe.data.task == "chat"
    assert len(found.examples) == 40
    assert [[turn["content"] for turn in one.fields["messages"]] for one in found.examples[:2]] == [
        ["Count to 0.", "Aye, 0."],
        ["Be short.", "Say 0.", "No, 0."],
    ]
    counts = "instruction (instruction, output) 20, chat (conversations) 20"
    assert f"rows of several shapes, read as conversations: {counts}" in tuple(map(str, found.table.notes))
    assert [example.place.line for example in found.examples[:2]] == [1, 2]


@pytest.mark.parametrize(
    ("shapes", "task"), [((ALPACA, PROMPTED), "instruction"), ((ENGLISH, RUSSIAN), "text-classification")]
)
def test_the_same_task_under_other_names_is_read_alike(tmp_path, shapes, task):
    found = parsed(write(tmp_path, "rows.jsonl", rows_of(*shapes)))
    assert found.recipe.data.task == task
    assert len(found.examples) == 40
    assert all(example.text and example.gold for example in found.examples)
    assert any("read alike" in note for note in tuple(map(str, found.table.notes)))


def test_shapes_of_several_files_are_read_together_and_rows_keep_their_file(tmp_path):
    write(tmp_path / "data", "train.jsonl", rows_of(ALPACA))
    write(tmp_path / "data", "test.jsonl", rows_of(SHAREGPT))
    found = parsed(tmp_path / "data")
    assert len(found.examples) == 40
    assert sorted(found.sides.names.values()) == ["test"] * 20 + ["train"] * 20
    assert {Path(example.place.file).name for example in found.examples} == {"train.jsonl", "test.jsonl"}


def test_shapes_that_are_different_tasks_are_counted_and_one_may_be_taken(tmp_path):
    path = write(tmp_path, "rows.jsonl", rows_of(ALPACA) + rows_of(COMPARED, count=15))
    with pytest.raises(DataError) as told:
        parsed(path)
    assert "instruction (instruction, output) 20, preference (chosen, rejected) 15" in str(told.value)
    assert "leave the others out: `--task instruction`" in str(told.value)
    assert parsed(path, **{"data.task": "instruction"}).recipe.data.task == "instruction"


def test_rows_that_only_lack_a_value_are_no_shape_of_their_own(tmp_path):
    rows = [*rows_of(ENGLISH), *({"text": f"a ship without a label, {at}"} for at in range(8))]
    found = parsed(write(tmp_path, "rows.jsonl", rows))
    assert tuple(map(str, found.table.notes)) == ()
    assert [example.gold for example in found.examples[-2:]] == ["", ""]
    varied = [{**row, "note" if at % 2 else "date": "x"} for at, row in enumerate(rows_of(ENGLISH))]
    assert parsed(write(tmp_path, "varied.jsonl", varied)).table.notes == ()


# ── files that go line by line beside each other ──────────────────────────────────────────────

ORIGINALS = [f"The ship number {at} came home late." for at in range(30)]
TRANSLATED = [f"Корабль номер {at} вернулся поздно." for at in range(30)]


def pair(folder: Path, first: str, second: str, short: int = 0) -> Path:
    folder.mkdir()
    (folder / first).write_text("".join(f"{line}\n" for line in ORIGINALS), encoding="utf-8")
    (folder / second).write_text("".join(f"{line}\n" for line in TRANSLATED[short:]), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "names",
    [("x.en", "x.ru"), ("train.src", "train.tgt"), ("OPUS.en-ru.en", "OPUS.en-ru.ru"), ("a.en.txt", "a.ru.txt")],
)
def test_two_languages_in_two_files_are_translations(tmp_path, names):
    folder = pair(tmp_path / "moses", *names)
    with zipfile.ZipFile(tmp_path / "moses.zip", "w") as packed:
        for name in names:
            packed.write(folder / name, name)
    pattern = folder / f"{names[0].partition('.')[0]}*"
    for path in (folder, pattern, tmp_path / "moses.zip", *([] if names[0].endswith("txt") else [folder / names[0]])):
        found = parsed(path)
        assert found.recipe.data.task == "translation"
        assert [(one.text, one.gold) for one in found.examples] == list(zip(ORIGINALS, TRANSLATED, strict=True))
        assert found.examples[4].place.line == 5


def test_files_of_different_lengths_are_refused_with_both_figures(tmp_path):
    with pytest.raises(DataError, match=r"different numbers of lines: .*x\.en has 30, .*x\.ru has 27"):
        parsed(pair(tmp_path / "moses", "x.en", "x.ru", short=3))


def test_texts_of_their_own_in_two_languages_stay_texts(tmp_path):
    found = parsed(pair(tmp_path / "texts", "en.txt", "ru.txt", short=3))
    assert (found.recipe.data.task, len(found.examples)) == ("language-modeling", 57)
